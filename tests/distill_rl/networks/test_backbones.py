import pytest
import torch

from distill_rl.networks.backbones import BACKBONES, make_backbone
from distill_rl.networks.ln_resnet import LNResNet
from distill_rl.networks.mlp import MLP


def test_ln_resnet_matches_the_layers_written_out():
    """Blocks are x + W2 ReLU(W1 LayerNorm(x)), W1 four times as wide; ReLU before the output."""
    torch.manual_seed(0)
    network = LNResNet(3, (5, 5), 2)
    x = torch.randn(4, 3)
    hidden = x @ network.input.weight.T + network.input.bias
    for norm, first, _, second in network.blocks:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
        centred = hidden - hidden.mean(-1, keepdim=True)
        normed = centred / (hidden.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        wide = (normed * norm.weight + norm.bias) @ first.weight.T + first.bias
        assert wide.shape == (4, 20)
        hidden = hidden + torch.maximum(wide, torch.zeros(())) @ second.weight.T + second.bias
    output = torch.maximum(hidden, torch.zeros(())) @ network.output[1].weight.T + network.output[1].bias
    torch.testing.assert_close(network(x), output)


def test_ln_resnet_has_a_block_for_each_width():
    """Without its blocks' output layers it is linear, ReLU, linear, however many there are."""
    network = LNResNet(3, (6, 6, 6), 2)
    assert len(network.blocks) == 3
    for block in network.blocks:
        torch.nn.init.zeros_(block[3].weight)
        torch.nn.init.zeros_(block[3].bias)
    x = torch.randn(4, 3)
    torch.testing.assert_close(network(x), network.output[1](network.input(x).relu()))


@pytest.mark.parametrize("hidden_sizes", [(8, 4), ()])
def test_widths_that_do_not_suit_residual_blocks_are_named(hidden_sizes):
    """A sum needs equal widths, and at least one."""
    with pytest.raises(ValueError, match=r"`hidden_sizes` must be alike for residual blocks, got \("):
        make_backbone("ln_resnet", 3, hidden_sizes, 2)


@pytest.mark.parametrize(("kind", "network_type"), [("mlp", MLP), ("ln_resnet", LNResNet)])
def test_backbone_of_each_kind_maps_features_over_any_leading_axes(kind, network_type):
    """The network is of the kind asked for, and each row is mapped alone."""
    network, x = make_backbone(kind, 3, (8, 8), 2), torch.randn(4, 5, 3)
    assert isinstance(network, network_type) and kind in BACKBONES
    output = network(x)
    assert output.shape == (4, 5, 2)
    torch.testing.assert_close(network(x[2, 3]), output[2, 3])


def test_unknown_backbone_is_named():
    """The message names the choices and the nearest one."""
    with pytest.raises(
        ValueError, match=r"`backbone` must be one of ln_resnet, mlp; got 'ln_resnt'.*'ln_resnet'"
    ):
        make_backbone("ln_resnt", 3, (8, 8), 2)
