"""The U-Net over time: shapes, sizes, and what its outputs depend on."""

import pytest
import torch

from distill_rl.networks.temporal_unet import TemporalUNet

_SMALL = {"level_sizes": (16, 32), "kernel_size": 3, "embedding_size": 8}


def make(feature_size=3, condition_size=5, **settings):
    torch.manual_seed(0)
    return TemporalUNet(feature_size, condition_size, **_SMALL | settings)


@pytest.mark.parametrize(
    ("level_sizes", "num_steps"), [((16,), 5), ((16, 32), 6), ((8, 16, 32), 16), ((8, 8, 16, 32), 384)]
)
@pytest.mark.parametrize("num_noise_inputs", [1, 2])
def test_output_has_the_shape_of_the_input(level_sizes, num_steps, num_noise_inputs):
    network = make(level_sizes=level_sizes, num_noise_inputs=num_noise_inputs)
    x, condition = torch.randn(2, num_steps, 3), torch.randn(2, 5)
    levels = [torch.rand(2)] * num_noise_inputs
    assert network(x, levels, condition).shape == x.shape


def test_it_needs_no_condition():
    network = make(condition_size=0)
    assert network(torch.randn(2, 4, 3), [torch.rand(2)]).shape == (2, 4, 3)


def test_batch_members_do_not_leak():
    network = make()
    x, condition, level = torch.randn(3, 8, 3), torch.randn(3, 5), torch.rand(3)
    together = network(x, [level], condition)
    alone = network(x[1:2], [level[1:2]], condition[1:2])
    torch.testing.assert_close(together[1:2], alone)


@pytest.mark.parametrize("part", ["x", "level", "next_level", "condition"])
def test_output_depends_on_every_input(part):
    network = make(num_noise_inputs=2)
    inputs = {
        "x": torch.randn(1, 8, 3),
        "level": torch.rand(1),
        "next_level": torch.rand(1),
        "condition": torch.randn(1, 5),
    }

    def run(values):
        return network(values["x"], [values["level"], values["next_level"]], values["condition"])

    assert not torch.allclose(run(inputs), run(inputs | {part: inputs[part] + 0.3}))


def test_the_published_size_has_the_published_structure():
    """Halved twice and brought back; one level is as deep as the next."""
    network = TemporalUNet(6, 17)
    assert network.level_sizes == (512, 1024, 2048)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(255e6, rel=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level_sizes": ()}, "`level_sizes`"),
        ({"level_sizes": (12,)}, "`level_sizes`"),
        ({"kernel_size": 4}, "`kernel_size`"),
        ({"embedding_size": 5}, "`embedding_size`"),
        ({"feature_size": 0}, "feature_size"),
        ({"num_noise_inputs": 0}, "num_noise_inputs"),
    ],
)
def test_sizes_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_wrong_inputs_are_refused():
    network = make()
    with pytest.raises(ValueError, match=r"`x.shape\[1\]` must be a multiple of 2 .*, got 7"):
        network(torch.randn(1, 7, 3), [torch.rand(1)], torch.randn(1, 5))
    with pytest.raises(ValueError, match="must hold 1 noise levels, got 2"):
        network(torch.randn(1, 8, 3), [torch.rand(1)] * 2, torch.randn(1, 5))


@pytest.mark.parametrize("batch_size", [1, 2])
def test_few_places_are_convolved_as_many_are(batch_size):
    """The product of matrices is the convolution: every layer, and the network, on single states."""
    network = make(level_sizes=(8, 16, 32))
    x, condition, level = torch.randn(9, 8, 3), torch.randn(9, 5), torch.rand(9)
    together = network(x, [level], condition)
    few = network(x[:batch_size], [level[:batch_size]], condition[:batch_size])
    torch.testing.assert_close(few, together[:batch_size])
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv1d)]
    assert {layer.stride for layer in layers} == {(1,), (2,)}
    for layer in layers:
        hidden = torch.randn(batch_size, layer.in_channels, 8)
        torch.testing.assert_close(layer(hidden), torch.nn.Conv1d.forward(layer, hidden))
