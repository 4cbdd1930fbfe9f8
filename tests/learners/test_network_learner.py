"""What learners save."""

import torch

from learners.network_learner import on_cpu


class _Elsewhere(torch.Tensor):
    """Stands for a tensor on a GPU."""

    def cpu(self):
        return torch.zeros(2)


def test_saved_tensors_lie_in_main_memory():
    """Wherever they stand in a state; all else stays as it is."""
    tensor = torch.ones(2).as_subclass(_Elsewhere)
    state = {"optimizer": {"state": {0: {"step": tensor}}, "groups": [{"lr": 0.1, "betas": (0.9, tensor)}]}}
    saved = on_cpu(state)
    group = saved["optimizer"]["groups"][0]
    assert type(group["betas"]) is tuple and (group["lr"], group["betas"][0]) == (0.1, 0.9)
    for moved in (saved["optimizer"]["state"][0]["step"], group["betas"][1]):
        assert type(moved) is torch.Tensor and moved.eq(0.0).all()
