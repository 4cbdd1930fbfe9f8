"""The gradient step against a plain loop of the same mathematics, and against its matrix products alone.

  step     `Distiller.update` on a batch of the default size;
  loop     the same step written plainly: state by state, noise by noise, parameter by parameter; its loss is
           checked against the step's;
  ceiling  only the matrix products of the step, forward and backward, on preallocated outputs: what is left
           if normalisation, activations, the ODE of the reference sets, losses, Adam and averaging were free.

One thread each.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "disabled")

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from measuring import interleave, parse_arguments, report, spread
from plain_distiller import PlainDistiller
from torch import nn

from distill_rl.types import ReferenceSet
from learners.config import DistillationConfig
from learners.distiller import Distiller, to_tensors

_COLUMNS = {
    "batch_size": "states",
    "num_candidates": "candidates",
    "step_msec": "step, ms",
    "loop_over_step": "plain loop / step",
    "share_of_ceiling": "matrix products alone / step",
    "step_gflop_per_sec": "GFLOP/s of the step",
    "ceiling_gflop_per_sec": "GFLOP/s of the products alone",
    "loss_difference": "largest difference of loss",
}


def main() -> None:
    """Measures one batch size and prints the table."""
    arguments = parse_arguments(
        __doc__,
        batch_size=256,
        num_candidates=16,
        observation_size=17,
        action_size=6,
        num_repeats=9,
        min_sec=1.0,
    )
    torch.set_num_threads(1)
    report([_measure(arguments)], _COLUMNS, arguments.json)


def _measure(arguments: Any) -> dict[str, Any]:
    config = DistillationConfig(batch_size=arguments.batch_size)
    distiller = Distiller(arguments.observation_size, arguments.action_size, config, seed=0)
    plain = PlainDistiller(copy.deepcopy(distiller.online), config, seed=0)
    batch = _make_batch(arguments)
    losses = [(distiller.update(batch), plain.update(to_tensors(batch, distiller.device))) for _ in range(3)]
    difference = max(abs(step[name] - loop[name]) for step, loop in losses for name in loop)
    ceiling, num_flop = _make_ceiling(distiller, config, arguments.batch_size)
    tensors = to_tensors(batch, distiller.device)
    functions: dict[str, Callable[[], Any]] = {
        "step": lambda: distiller.update(batch),
        "loop": lambda: plain.update(tensors),
        "ceiling": ceiling,
    }
    seconds = interleave(functions, arguments.num_repeats, arguments.min_sec)
    return {
        "batch_size": arguments.batch_size,
        "num_candidates": arguments.num_candidates,
        "step_msec": spread(1e3 * seconds["step"]),
        "loop_over_step": spread(seconds["loop"] / seconds["step"]),
        "share_of_ceiling": spread(seconds["ceiling"] / seconds["step"]),
        "step_gflop_per_sec": spread(1e-9 * num_flop / seconds["step"]),
        "ceiling_gflop_per_sec": spread(1e-9 * num_flop / seconds["ceiling"]),
        "loss_difference": difference,
    }


def _make_batch(arguments: Any) -> ReferenceSet:
    generator = np.random.default_rng(0)
    size, candidates = arguments.batch_size, arguments.num_candidates
    logits = 2.0 * generator.standard_normal((size, candidates)).astype(np.float32)
    actions = generator.uniform(-1.0, 1.0, (size, candidates, arguments.action_size))
    return ReferenceSet(
        observation=generator.standard_normal((size, arguments.observation_size)).astype(np.float32),
        actions=actions.astype(np.float32),
        log_probs=logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)),
        log_proposals=np.zeros((size, candidates), np.float32),
        value=generator.uniform(0.0, 50.0, size).astype(np.float32),
        policy_value=generator.uniform(0.0, 50.0, size).astype(np.float32),
        policy_version=0,
    )


def _make_ceiling(
    distiller: Distiller, config: DistillationConfig, batch_size: int
) -> tuple[Callable[[], None], float]:
    """Returns a function that makes the step's matrix products, and their number of operations."""
    rows = {"policy": batch_size * config.num_noises, "value": batch_size}
    products = []
    for name, num_rows in rows.items():
        layers = [m for m in getattr(distiller.online, name).mlp if isinstance(m, nn.Linear)]
        for index, layer in enumerate(layers):
            weight = layer.weight.detach()
            inputs, outputs = torch.randn(num_rows, weight.shape[1]), torch.randn(num_rows, weight.shape[0])
            products += [(inputs, weight.T), (outputs.T, inputs)]  # forward, gradient of the weights
            if index > 0:
                products.append((outputs, weight))  # gradient of the inputs
    calls = [(a, b, torch.empty(a.shape[0], b.shape[1])) for a, b in products]
    num_flop = sum(2.0 * a.shape[0] * a.shape[1] * b.shape[1] for a, b in products)

    def ceiling() -> None:
        for a, b, out in calls:
            torch.mm(a, b, out=out)

    return ceiling, num_flop


if __name__ == "__main__":
    main()
