"""A U-Net over time with feature-wise modulation: the network of trajectory teachers and students.

Source: Janner et al. (2022), "Planning with diffusion for flexible behavior synthesis" (the temporal U-Net);
Chi et al. (2023), "Diffusion policy", Section IV.B (conditioning by FiLM, Perez et al. 2018).
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from distill_rl.checks import check_at_least_one

_NUM_GROUPS = 8
_EMBEDDING_SCALE = 1e4
_MAX_PLACES = 16


class TemporalUNet(nn.Module):
    """Maps noisy trajectories, noise levels and a condition to trajectories.

    Each level has two residual blocks, modulated by the condition, and halves time but for the last; the way
    up mirrors it and takes what the way down had.

    Args:
      feature_size: `D`, entries of one step of a trajectory.
      condition_size: `C`, entries of the condition; 0 for none.
      num_noise_inputs: noise levels that condition it: 1 for a denoiser, 2 for a jump from one to another.
      level_sizes: channels of each level.
      kernel_size: of the convolutions over time, odd.
      embedding_size: entries of the embedding of each noise level.

    Raises:
      ValueError: if a size is not positive, a level is no multiple of 8, or the kernel is even.
    """

    def __init__(
        self,
        feature_size: int,
        condition_size: int,
        *,
        num_noise_inputs: int = 1,
        level_sizes: Sequence[int] = (512, 1024, 2048),
        kernel_size: int = 5,
        embedding_size: int = 128,
    ):
        super().__init__()
        for name, size in (("feature_size", feature_size), ("num_noise_inputs", num_noise_inputs)):
            check_at_least_one(name, size)
        check_unet_sizes(level_sizes, kernel_size, embedding_size)
        self.feature_size, self.condition_size = feature_size, condition_size
        self.num_noise_inputs, self.level_sizes = num_noise_inputs, tuple(level_sizes)
        self.kernel_size, self.embedding_size = kernel_size, embedding_size
        self.embedders = nn.ModuleList(_make_embedder(embedding_size) for _ in range(num_noise_inputs))
        modulation_size = num_noise_inputs * embedding_size + condition_size

        def block(in_size: int, out_size: int) -> _ResidualBlock:
            return _ResidualBlock(in_size, out_size, modulation_size, kernel_size)

        sizes = (feature_size, *self.level_sizes)
        self.down_blocks, self.down_samplers = nn.ModuleList(), nn.ModuleList()
        for level, (in_size, out_size) in enumerate(itertools.pairwise(sizes)):
            self.down_blocks.append(nn.ModuleList([block(in_size, out_size), block(out_size, out_size)]))
            is_last = level == len(self.level_sizes) - 1
            self.down_samplers.append(
                nn.Identity() if is_last else _TimeConv(out_size, out_size, 3, stride=2, padding=1)
            )
        self.middle_blocks = nn.ModuleList([block(sizes[-1], sizes[-1]), block(sizes[-1], sizes[-1])])
        self.up_blocks, self.up_samplers = nn.ModuleList(), nn.ModuleList()
        for in_size, out_size in zip(sizes[:1:-1], sizes[-2:0:-1]):
            self.up_blocks.append(nn.ModuleList([block(2 * in_size, out_size), block(out_size, out_size)]))
            self.up_samplers.append(nn.ConvTranspose1d(out_size, out_size, 4, stride=2, padding=1))
        self.head = nn.Sequential(
            _ConvBlock(sizes[1], sizes[1], kernel_size), nn.Conv1d(sizes[1], feature_size, 1)
        )

    def forward(
        self, x: torch.Tensor, noise_inputs: Sequence[torch.Tensor], condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Evaluates the network.

        Args:
          x: trajectories. Shape `[B, T, D]`.
          noise_inputs: noise levels, scaled to be of order 1 or above. Shape `[B]` each.
          condition: shape `[B, C]`; None if `C` is 0.

        Returns:
          Shape `[B, T, D]`.

        Raises:
          ValueError: if `T` is no multiple of what time is divided by, or the number of noise levels is
            another.
        """
        check_num_steps("x.shape[1]", x.shape[1], self.level_sizes)
        if len(noise_inputs) != self.num_noise_inputs:
            raise ValueError(
                f"`noise_inputs` must hold {self.num_noise_inputs} noise levels, got {len(noise_inputs)}"
            )
        parts = [
            embedder(_embed(level, self.embedding_size))
            for embedder, level in zip(self.embedders, noise_inputs)
        ]
        modulation = torch.cat([*parts, *([] if condition is None else [condition])], dim=-1)
        hidden = x.movedim(-1, -2)
        skipped = []
        for blocks, down_sample in zip(self.down_blocks, self.down_samplers):
            hidden = _run(blocks, hidden, modulation)
            skipped.append(hidden)
            hidden = down_sample(hidden)
        hidden = _run(self.middle_blocks, hidden, modulation)
        for blocks, up_sample in zip(self.up_blocks, self.up_samplers):
            hidden = _run(blocks, torch.cat([hidden, skipped.pop()], dim=1), modulation)
            hidden = up_sample(hidden)
        out: torch.Tensor = self.head(hidden)
        return out.movedim(-2, -1)


def check_unet_sizes(level_sizes: Sequence[int], kernel_size: int, embedding_size: int) -> None:
    """Checks the sizes that a `TemporalUNet` is built from.

    Raises:
      ValueError: if there is no level or one is no multiple of 8, the kernel is even, or the embedding is odd
        or below 4.
    """
    check_level_sizes("level_sizes", level_sizes)
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"`kernel_size` must be odd and positive, got {kernel_size}")
    if embedding_size < 4 or embedding_size % 2:
        raise ValueError(f"`embedding_size` must be even and at least 4, got {embedding_size}")


def check_level_sizes(name: str, level_sizes: Sequence[int]) -> None:
    """Checks the channels of the levels of a `TemporalUNet`.

    Raises:
      ValueError: if there is no level, or one is no multiple of 8.
    """
    if not level_sizes or any(size < 1 or size % _NUM_GROUPS for size in level_sizes):
        raise ValueError(f"`{name}` must be multiples of {_NUM_GROUPS}, got {tuple(level_sizes)}")


def check_num_steps(name: str, num_steps: int, level_sizes: Sequence[int]) -> None:
    """Checks that trajectories can be halved in time from level to level of a `TemporalUNet`.

    Raises:
      ValueError: if the number of steps is no multiple of `2^(levels - 1)`.
    """
    factor = 2 ** (len(level_sizes) - 1)
    if num_steps % factor:
        raise ValueError(
            f"`{name}` must be a multiple of {factor} for levels of {tuple(level_sizes)} channels, "
            f"got {num_steps}"
        )


class _TimeConv(nn.Conv1d):
    """`nn.Conv1d`, as a product of matrices where there are few places to convolve at.

    On a CPU that is up to six times as fast for a single state, and never slower up to this number of places.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shapes `[B, in, T]` to `[B, out, T / stride]`."""
        if x.device.type != "cpu" or x.shape[0] * x.shape[2] > _MAX_PLACES:
            return super().forward(x)
        (size,), (stride,) = self.kernel_size, self.stride
        padding = self.padding[0]
        assert isinstance(padding, int)
        patches = functional.pad(x, (padding, padding)).unfold(2, size, stride)  # [B, in, T, size]
        rows = patches.transpose(1, 2).flatten(2)
        return functional.linear(rows, self.weight.flatten(1), self.bias).transpose(1, 2)


class _ConvBlock(nn.Sequential):
    """Convolution over time, group normalisation, Mish. Shapes `[B, in, T]` to `[B, out, T]`."""

    def __init__(self, in_size: int, out_size: int, kernel_size: int):
        super().__init__(
            _TimeConv(in_size, out_size, kernel_size, padding=kernel_size // 2),
            nn.GroupNorm(_NUM_GROUPS, out_size),
            nn.Mish(),
        )


class _ResidualBlock(nn.Module):
    """Two convolution blocks with a scale and a shift of every channel in between, and a way around them."""

    def __init__(self, in_size: int, out_size: int, modulation_size: int, kernel_size: int):
        super().__init__()
        self.first = _ConvBlock(in_size, out_size, kernel_size)
        self.second = _ConvBlock(out_size, out_size, kernel_size)
        self.modulation = nn.Sequential(nn.Mish(), nn.Linear(modulation_size, 2 * out_size))
        self.around = _TimeConv(in_size, out_size, 1) if in_size != out_size else nn.Identity()

    def forward(self, x: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
        """Shapes `[B, in, T]`, `[B, modulation]` to `[B, out, T]`."""
        scale, shift = self.modulation(modulation).unsqueeze(-1).chunk(2, dim=1)
        hidden = self.second(scale * self.first(x) + shift)
        out: torch.Tensor = hidden + self.around(x)
        return out


def _run(blocks: nn.Module, hidden: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
    assert isinstance(blocks, nn.ModuleList)
    for block in blocks:
        hidden = block(hidden, modulation)
    return hidden


def _make_embedder(size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, 4 * size), nn.Mish(), nn.Linear(4 * size, size))


def _embed(level: torch.Tensor, size: int) -> torch.Tensor:
    """Returns sines and cosines of levels at geometric frequencies. Shapes `[B]` to `[B, size]`."""
    half = size // 2
    frequencies = torch.exp(
        -math.log(_EMBEDDING_SCALE) / (half - 1) * torch.arange(half, device=level.device)
    )
    angles = level.unsqueeze(-1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
