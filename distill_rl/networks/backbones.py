"""Which network stands between the features of a policy and its output."""

from torch import nn

from distill_rl.checks import check_choice
from distill_rl.networks.ln_resnet import LNResNet
from distill_rl.networks.mlp import MLP

BACKBONES = ("mlp", "ln_resnet")


def make_backbone(kind: str, input_size: int, hidden_sizes: tuple[int, ...], output_size: int) -> nn.Module:
    """Builds a network, features in, features out.

    Args:
      kind: `mlp` or `ln_resnet`.
      input_size: features in.
      hidden_sizes: widths of the hidden layers, or of the residual blocks.
      output_size: features out.

    Raises:
      ValueError: if the kind is unknown or does not take these widths.
    """
    check_choice("backbone", kind, BACKBONES)
    return {"mlp": MLP, "ln_resnet": LNResNet}[kind](input_size, hidden_sizes, output_size)
