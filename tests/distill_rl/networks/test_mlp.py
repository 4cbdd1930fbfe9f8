import torch

from distill_rl.networks.mlp import MLP


def test_mlp_matches_the_layers_written_out():
    """Linear, LayerNorm and SiLU in this order, then a linear layer."""
    mlp = MLP(3, (5,), 2)
    x = torch.randn(4, 3)
    hidden = x @ mlp[0].weight.T + mlp[0].bias
    hidden = (hidden - hidden.mean(-1, keepdim=True)) / (
        hidden.var(-1, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    hidden = hidden / (1 + (-hidden).exp())
    torch.testing.assert_close(mlp(x), hidden @ mlp[3].weight.T + mlp[3].bias)


def test_output_scale_zero_gives_zero_output():
    """An output scale of 0 starts the network at zero."""
    assert torch.equal(MLP(3, (5, 5), 2, output_scale=0.0)(torch.randn(4, 3)), torch.zeros(4, 2))
