"""Offline learning: training steps and action latencies of the methods by turns, and the data pipeline.

Ratios are against Diffusion-QL with 5 steps, which Consistency-AC is compared with in its paper. The pipeline
draws batches as the learner does, from a dataset mapped into memory, without a gradient step. Cpu-seconds of
one thread.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import interleave, parse_arguments, report, spread

from distill_rl.algorithms.offline_config import OFFLINE_METHODS, acting_settings
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.store import load_dataset, save_dataset
from distill_rl.policies.candidates import act_by_value
from learners.offline.config import LearningConfig
from learners.offline.trainer import OfflineTrainer
from learners.offline.transitions import TransitionSampler

_METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "Diffusion-QL, 5 steps": ("diffusion_ql", {"num_sampling_steps": 5}),
    "Diffusion-QL, 2 steps": ("diffusion_ql", {"num_sampling_steps": 2}),
    "Consistency-AC, 5 steps": ("consistency_ac", {"num_sampling_steps": 5}),
    "Consistency-AC, 2 steps": ("consistency_ac", {"num_sampling_steps": 2}),
    "CriticDistill, 1 step": ("critic_distill", {}),
    "CriticDistill, 1 step, candidates moved, 5 critics": (
        "critic_distill",
        {"ascent_distance": 1.0, "num_critics": 5},
    ),
    "Diffusion-BC, 5 steps": ("diffusion_bc", {"num_sampling_steps": 5}),
    "Consistency-BC, 2 steps": ("consistency_bc", {"num_sampling_steps": 2}),
    "BC": ("gaussian_bc", {}),
}
_REFERENCE = "Diffusion-QL, 5 steps"
_COLUMNS = {
    "method": "method",
    "update_msec": "update, ms",
    "update_ratio": f"over {_REFERENCE}",
    "action_msec": "one action, ms",
    "action_ratio": f"over {_REFERENCE}",
    "chosen_msec": "one of 50 candidates, ms",
}
_PIPELINE_COLUMNS = {
    "source": "source",
    "transitions_per_sec": "transitions per cpu-second",
    "num_transitions": "in the dataset",
    "growth_mib": "growth of private memory, MiB",
}
_WARM_UP_BATCHES = 100
_NUM_CANDIDATES = 50


def main() -> None:
    """Times the methods by turns and the pipeline, and prints the tables."""
    arguments = parse_arguments(
        __doc__,
        observation_size=17,
        action_size=6,
        num_transitions=1_000_000,
        num_batches=4_000,
        num_repeats=7,
        min_sec=0.5,
    )
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = _pipeline(arguments, Path(folder) / "dataset")
    report(rows, _PIPELINE_COLUMNS, None)
    print()
    methods = _methods(arguments)
    report(methods, _COLUMNS, None)
    if arguments.json is not None:
        report([*rows, *methods], {}, arguments.json)


def _dataset(arguments: Any, num_steps: int) -> OfflineDataset:
    generator = np.random.default_rng(0)
    sizes = (num_steps, arguments.observation_size)
    return OfflineDataset(
        observations=generator.standard_normal(sizes, np.float32),
        actions=generator.uniform(-1.0, 1.0, (num_steps, arguments.action_size)).astype(np.float32),
        rewards=generator.standard_normal(num_steps, np.float32),
        next_observations=generator.standard_normal(sizes, np.float32),
        terminals=np.zeros(num_steps, bool),
        is_transition=np.ones(num_steps, bool),
        episode_ends=np.array([num_steps]),
        metadata={"name": "random numbers", "source": "benchmark"},
    )


def _pipeline(arguments: Any, path: Path) -> list[dict[str, Any]]:
    save_dataset(_dataset(arguments, arguments.num_transitions), path)
    sampler = TransitionSampler(load_dataset(path))
    generator = np.random.default_rng(0)
    batch_size = LearningConfig().batch_size

    for _ in range(_WARM_UP_BATCHES):
        sampler.sample(batch_size, generator)
    before, start_sec = _private_mib(), time.process_time()
    for _ in range(arguments.num_batches):
        sampler.sample(batch_size, generator)
    elapsed_sec = time.process_time() - start_sec
    return [
        {
            "source": "batches of 256 from mapped files",
            "transitions_per_sec": arguments.num_batches * batch_size / elapsed_sec,
            "num_transitions": arguments.num_transitions,
            "growth_mib": _private_mib() - before,
        }
    ]


def _private_mib() -> float:
    """Returns the memory of this process that no file stands behind; Linux."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))
    return int(kib) / 1024


def _methods(arguments: Any) -> list[dict[str, Any]]:
    sampler = TransitionSampler(_dataset(arguments, 10_000))
    generator = np.random.default_rng(0)
    observation = torch.zeros(1, arguments.observation_size)
    updates: dict[str, Any] = {}
    actions: dict[str, Any] = {}
    chosen: dict[str, Any] = {}
    for name, (method, options) in _METHODS.items():
        config = LearningConfig(**OFFLINE_METHODS[method].method_options | options)
        trainer = OfflineTrainer(arguments.observation_size, arguments.action_size, config, 0)
        acting = acting_settings(config)
        acting.pop("num_candidates")
        policy, critic = trainer.ema.policy, trainer.ema.critic
        updates[name] = lambda trainer=trainer, size=config.batch_size: trainer.update(
            sampler.sample(size, generator)
        )
        actions[name] = lambda policy=policy, acting=acting: policy.act(observation, **acting)
        if critic is not None:
            chosen[name] = lambda policy=policy, critic=critic, acting=acting: act_by_value(
                policy, critic, observation, _NUM_CANDIDATES, **acting
            )
    update_sec = interleave(updates, arguments.num_repeats, arguments.min_sec)
    action_sec = interleave(actions, arguments.num_repeats, arguments.min_sec)
    chosen_sec = interleave(chosen, arguments.num_repeats, arguments.min_sec)
    return [
        {
            "method": name,
            "update_msec": spread(1e3 * update_sec[name]),
            "update_ratio": spread(update_sec[name] / update_sec[_REFERENCE]),
            "action_msec": spread(1e3 * action_sec[name]),
            "action_ratio": spread(action_sec[name] / action_sec[_REFERENCE]),
            "chosen_msec": spread(1e3 * chosen_sec[name]) if name in chosen_sec else "-",
        }
        for name in _METHODS
    ]


if __name__ == "__main__":
    main()
