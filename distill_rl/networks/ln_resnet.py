"""A residual network with layer normalisation, as diffusion policies of offline learning use it."""

import torch
from torch import nn

_EXPANSION = 4


class LNResNet(nn.Module):
    """Linear, then residual blocks `x + Linear(ReLU(Linear_4h(LayerNorm(x))))`, then ReLU and Linear.

    Without dropout. Source: Hansen-Estruch et al. (2023), "IDQL", arXiv:2304.10573, Section 5 and Appendix.

    Args:
      input_size: features in.
      hidden_sizes: the width of each block, all the same.
      output_size: features out.

    Raises:
      ValueError: if the widths differ.
    """

    def __init__(self, input_size: int, hidden_sizes: tuple[int, ...], output_size: int):
        super().__init__()
        if len(set(hidden_sizes)) != 1:
            raise ValueError(f"`hidden_sizes` must be alike for residual blocks, got {hidden_sizes}")
        width = hidden_sizes[0]
        self.input = nn.Linear(input_size, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, _EXPANSION * width),
                nn.ReLU(),
                nn.Linear(_EXPANSION * width, width),
            )
            for _ in hidden_sizes
        )
        self.output = nn.Sequential(nn.ReLU(), nn.Linear(width, output_size))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Shapes `[..., input_size]` to `[..., output_size]`."""
        hidden = self.input(features)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        output: torch.Tensor = self.output(hidden)
        return output
