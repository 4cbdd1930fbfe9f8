"""The networks of trajectory models, each with the normaliser of what it is conditioned on."""

from typing import Any

import torch
from torch import nn

from distill_rl.networks.normalizer import RunningNormalizer
from distill_rl.networks.temporal_unet import TemporalUNet


class ConditionedUNet(nn.Module):
    """A `TemporalUNet` of action sequences, conditioned on an observation.

    Args:
      observation_size: `O`.
      action_size: `A`.
      num_noise_inputs: see `TemporalUNet`.
      **settings: further arguments of `TemporalUNet`.

    Attributes:
      normalizer: of observations.
      unet: the network itself.
    """

    def __init__(self, observation_size: int, action_size: int, num_noise_inputs: int, **settings: Any):
        super().__init__()
        self.normalizer = RunningNormalizer(observation_size)
        self.unet = TemporalUNet(action_size, observation_size, num_noise_inputs=num_noise_inputs, **settings)
        self.num_noise_inputs = num_noise_inputs

    def forward(
        self, x: torch.Tensor, noise_inputs: list[torch.Tensor], observation: torch.Tensor
    ) -> torch.Tensor:
        """Evaluates the network. Shapes `[B, T, A]`, `[B]` each, `[B, O]` to `[B, T, A]`."""
        out: torch.Tensor = self.unet(x, noise_inputs, self.normalizer(observation))
        return out


@torch.no_grad()
def warm_start(student: ConditionedUNet, teacher: ConditionedUNet) -> None:
    """Copies a denoiser's weights into the network of jumps, which then ignores the level that it jumps to.

    Source: Prasad et al. (2024), "Consistency policy", Section IV: the student starts as the teacher.

    Args:
      student: with two noise levels.
      teacher: with one, and the same sizes.

    Raises:
      ValueError: if they differ in size or have other numbers of noise levels.
    """
    levels = (student.num_noise_inputs, teacher.num_noise_inputs)
    networks = student.unet, teacher.unet
    if levels != (2, 1):
        raise ValueError(
            f"`student` must take 2 noise levels and `teacher` 1, got {levels[0]} and {levels[1]}"
        )
    names = ("feature_size", "condition_size", "level_sizes", "kernel_size", "embedding_size")
    differing = [name for name in names if len({getattr(unet, name) for unet in networks}) > 1]
    if differing:
        raise ValueError(f"`student` must have the sizes of `teacher`, got other {', '.join(differing)}")
    known, size = teacher.state_dict(), teacher.unet.embedding_size
    started = student.state_dict()
    for name, weight in started.items():
        if name not in known:
            continue
        if weight.shape == known[name].shape:
            weight.copy_(known[name])
        else:  # a modulation: the second level's embedding stands between the first one's and the condition
            weight.zero_()
            weight[:, :size].copy_(known[name][:, :size])
            weight[:, 2 * size :].copy_(known[name][:, size:])
