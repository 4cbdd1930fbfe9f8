"""What likelihoods and updates of PPO cost, side by side in one process."""

import copy
import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from distill_rl.cli.experiments.base import Row
from distill_rl.cli.experiments.cm_ppo_run import PPOSpec, make_config
from distill_rl.cli.experiments.jobs import save_result
from distill_rl.cli.machine import describe_machine
from distill_rl.policies.actor_critic import ActorCriticNetworks
from distill_rl.policies.noisy_actions import (
    chain_log_prob,
    denoising_log_prob,
    draw_noisy_actions,
    ode_log_prob,
)

GAUSSIAN = "gaussian"
"""Name of what everything is compared with."""


@dataclasses.dataclass(frozen=True)
class TimingSpec:
    """What is timed.

    Attributes:
      updates: a run of each variant, by its label; whole updates of their learners are timed.
      num_rows: actions in a call of a likelihood.
      num_repeats: how often everything is timed, in turns.
    """

    updates: Mapping[str, Mapping[str, Any]]
    num_rows: int = 256
    num_repeats: int = 5


def time_likelihoods(spec: TimingSpec, observation_size: int, action_size: int) -> list[Row]:
    """Times log-likelihoods with their gradient.

    Returns:
      One row for each: `part` "likelihood", `label`, `msec` (median cpu-milliseconds of a call), `ratio` to
      the density of a Gaussian whose mean is a network of the same size, its least and greatest value over
      the repeats, and `error`: for the exact density, the greatest difference from 512 steps.
    """
    torch.manual_seed(0)
    networks = ActorCriticNetworks(observation_size, action_size)
    policy, log_std = networks.policy, networks.noise_log_std
    observation = torch.randn(spec.num_rows, observation_size)
    with torch.no_grad():
        actions, inputs = draw_noisy_actions(policy, log_std, observation)
        _, two_inputs = draw_noisy_actions(policy, log_std, observation, 2)
    shape = (spec.num_rows, 8)
    sigma, noise = torch.rand(shape) + 0.1, torch.randn(*shape, action_size)

    def exact(num_steps: int) -> torch.Tensor:
        return ode_log_prob(policy, 0.5, observation, actions, num_steps)

    def hutchinson() -> torch.Tensor:
        return policy.log_prob(
            observation, actions, divergence="rademacher", num_steps=4, generator=torch.default_generator
        )

    with torch.no_grad():
        reference = exact(512)
    steps = (4, 8, 16)
    calls: dict[str, Callable[[], torch.Tensor]] = {
        GAUSSIAN: lambda: _gaussian_log_prob(policy.mlp, policy.frequencies, log_std, observation, actions),
        "gaussian_steps, 1 step": lambda: chain_log_prob(policy, log_std, observation, actions, inputs),
        "gaussian_steps, 2 steps": lambda: chain_log_prob(policy, log_std, observation, actions, two_inputs),
        "loss_difference, 8 levels": lambda: denoising_log_prob(policy, observation, actions, sigma, noise),
        "ODE, Hutchinson, 4 steps": hutchinson,
        **{f"exact, {n} steps": (lambda n=n: exact(n)) for n in steps},  # type: ignore[misc]
    }
    errors = {f"exact, {n} steps": float((exact(n).detach() - reference).abs().max()) for n in steps}
    timed = _in_turns(
        {name: _with_gradient(call, networks) for name, call in calls.items()}, spec.num_repeats
    )
    rows = _rows("likelihood", timed)
    return [{**row, "action_size": action_size, "error": errors.get(row["label"])} for row in rows]


def time_updates(spec: TimingSpec) -> list[Row]:
    """Times whole updates of learners: batch, all epochs and minibatches.

    Returns:
      One row for each variant: `part` "update", and the rest as in `time_likelihoods`.
    """
    algorithms = {label: make_config(PPOSpec(**own)).build_algo() for label, own in spec.updates.items()}
    torch.set_num_threads(1)
    calls = {}
    for label, algorithm in algorithms.items():
        config = algorithm.config
        episodes = algorithm.env_runner.sample(num_timesteps=config.train_batch_size_per_learner)
        # RLlib appends to the episodes that it learns from.
        copies = [copy.deepcopy(episodes) for _ in range(spec.num_repeats + 1)]

        def update(algorithm: Any = algorithm, copies: Any = copies, config: Any = config) -> None:
            algorithm.learner_group.update(
                episodes=copies.pop(),
                timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: 0},
                num_epochs=config.num_epochs,
                minibatch_size=config.minibatch_size,
                shuffle_batch_per_epoch=config.shuffle_batch_per_epoch,
            )

        calls[label] = update
    try:
        return _rows("update", _in_turns(calls, spec.num_repeats))
    finally:
        for algorithm in algorithms.values():
            algorithm.stop()


def time_all(spec: TimingSpec) -> list[Row]:
    """Times likelihoods for one and for six action dimensions (those of cheetah), and updates."""
    torch.set_num_threads(1)
    likelihoods = [time_likelihoods(spec, *sizes) for sizes in ((4, 1), (17, 6))]
    rows = [row for part in likelihoods for row in part] + time_updates(spec)
    machine = describe_machine()
    return [{**row, "machine": machine} for row in rows]


def _gaussian_log_prob(
    mlp: torch.nn.Module,
    padding: torch.Tensor,
    log_std: torch.Tensor,
    observation: torch.Tensor,
    actions: torch.Tensor,
) -> torch.Tensor:
    """Returns the density of a Gaussian whose mean is the policy's own network, without its scalings."""
    size = actions.shape[1] + 2 * len(padding)
    features = torch.cat([observation, observation.new_zeros(len(observation), size)], dim=1)
    return torch.distributions.Normal(mlp(features), log_std.exp()).log_prob(actions).sum(dim=1)


def _with_gradient(call: Callable[[], torch.Tensor], networks: torch.nn.Module) -> Callable[[], None]:
    def run() -> None:
        networks.zero_grad()
        call().mean().backward()

    return run


def _in_turns(calls: Mapping[str, Callable[[], Any]], num_repeats: int) -> dict[str, np.ndarray]:
    """Returns cpu-milliseconds of each call, one number for each repeat, after one that does not count."""
    timed: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(num_repeats + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if repeat:
                timed[name].append(1e3 * (time.process_time() - start))
    return {name: np.array(values) for name, values in timed.items()}


def _rows(part: str, timed: Mapping[str, np.ndarray]) -> list[Row]:
    rows: list[Row] = []
    for label, msec in timed.items():
        ratio = msec / timed[GAUSSIAN]
        spread = {"ratio": np.median(ratio), "ratio_min": ratio.min(), "ratio_max": ratio.max()}
        numbers = {name: float(value) for name, value in {"msec": np.median(msec), **spread}.items()}
        rows.append({"part": part, "label": label, **numbers})
    return rows


def run_timing(spec: Mapping[str, Any], folder: Path) -> None:
    """Runs a specification in this process and writes its rows into a folder."""
    save_result(folder, spec, time_all(TimingSpec(**spec)))
