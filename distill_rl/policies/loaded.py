"""Saved policies as they act: numpy in, numpy out."""

from typing import Any, ClassVar

import numpy as np
import torch

from distill_rl.checks import check_finite
from distill_rl.networks.q_ensemble import QEnsemble
from distill_rl.networks.world_model import Encoder
from distill_rl.policies.candidates import act_by_value
from distill_rl.policies.chunk import ChunkDiffusionPolicy, ChunkPolicy
from distill_rl.policies.chunk_execution import ChunkExecutor
from distill_rl.policies.kinds import Policy


class _NumpyPolicy:
    """What policies on numpy observations share: how they act unless told otherwise, and their noise."""

    _default_acting: ClassVar[dict[str, Any]]
    """How they act where neither the call nor their metadata (`acting`) say."""

    def __init__(self, metadata: dict[str, Any]):
        self.metadata = metadata
        self._generator = torch.Generator().manual_seed(0)

    def _acting(self, **asked: Any) -> dict[str, Any]:
        given = {name: value for name, value in asked.items() if value is not None}
        return self._default_acting | self.metadata.get("acting", {}) | given

    def _noise(self, seed: int | None) -> torch.Generator:
        return self._generator if seed is None else torch.Generator().manual_seed(seed)


class LoadedPolicy(_NumpyPolicy):
    """A policy that acts on numpy observations.

    Args:
      policy: the network.
      metadata: what was saved beside it (environment id, action repeat, ...).
      encoder: maps observations to what the policy is conditioned on; None for observations themselves.
      critic: values of actions, for acting by the best of several candidates; None if there is none.
    """

    _default_acting = {"num_steps": 1, "noise_scale": 0.0, "num_candidates": 1}

    def __init__(
        self,
        policy: Policy,
        metadata: dict[str, Any],
        encoder: Encoder | None = None,
        critic: QEnsemble | None = None,
    ):
        super().__init__(metadata)
        self.policy, self.encoder, self.critic = policy, encoder, critic

    def act(
        self,
        observation: np.ndarray,
        num_steps: int | None = None,
        noise_scale: float | None = None,
        seed: int | None = None,
        num_candidates: int | None = None,
    ) -> np.ndarray:
        """Draws actions.

        How a policy acts unless told otherwise is among its metadata (`acting`), and without that one step
        of one candidate without noise.

        Args:
          observation: shape `[O]` or `[B, O]`.
          num_steps: network calls for each action of a consistency policy.
          noise_scale: 0 gives the mode-like action, 1 the full distribution.
          seed: of this call's noise; None goes on with the policy's own stream, which starts at seed 0.
          num_candidates: actions sampled, of which the critic chooses one, see `act_by_value`.

        Returns:
          Actions in [-1, 1]. Shape `[A]` or `[B, A]`, float32.

        Raises:
          ValueError: if the observation has the wrong shape or is not finite, a setting is out of range, or
            there is no critic to choose.
        """
        rows = check_observation(observation, (self.encoder or self.policy).observation_size)
        acting = self._acting(num_steps=num_steps, noise_scale=noise_scale, num_candidates=num_candidates)
        acting["generator"] = self._noise(seed)
        seen = torch.from_numpy(np.atleast_2d(rows))
        if self.encoder is not None:
            seen = self.encoder(seen)
        num_candidates = acting.pop("num_candidates")
        if num_candidates == 1:
            actions = self.policy.act(seen, **acting)
        elif self.critic is None:
            raise ValueError(f"`num_candidates` must be 1 without a critic, got {num_candidates}")
        else:
            actions = act_by_value(self.policy, self.critic, seen, num_candidates, **acting)
        return actions.numpy().reshape(*rows.shape[:-1], self.policy.action_size)


class LoadedChunkPolicy(_NumpyPolicy):
    """A policy over chunks of actions that acts on numpy observations.

    `act` plans anew at every call. `make_executor` acts chunks out, and holds what is left of them.

    Args:
      policy: the network.
      metadata: what was saved beside it (environment id, action repeat, ...).
    """

    _default_acting = {"num_steps": 1, "noise_scale": 1.0, "exec_horizon": 1}

    def __init__(self, policy: ChunkPolicy, metadata: dict[str, Any]):
        super().__init__(metadata)
        self.policy = policy

    def act(
        self,
        observation: np.ndarray,
        num_steps: int | None = None,
        noise_scale: float | None = None,
        seed: int | None = None,
        sampler: str | None = None,
    ) -> np.ndarray:
        """Draws chunks and returns their first actions; see `act_chunk` for the arguments.

        Returns:
          Shape `[A]` or `[B, A]`, float32.
        """
        return self.act_chunk(observation, num_steps, noise_scale, seed, sampler)[..., 0, :]

    @torch.inference_mode()
    def act_chunk(
        self,
        observation: np.ndarray,
        num_steps: int | None = None,
        noise_scale: float | None = None,
        seed: int | None = None,
        sampler: str | None = None,
    ) -> np.ndarray:
        """Draws chunks of actions.

        How a policy acts unless told otherwise is among its metadata (`acting`), and without that one step
        with all its noise.

        Args:
          observation: shape `[O]` or `[B, O]`.
          num_steps: jumps of a student, steps of a teacher's sampler.
          noise_scale: factor on the noise, see `ChunkPolicy.sample`.
          seed: of this call's noise; None goes on with the policy's own stream, which starts at seed 0.
          sampler: of a teacher, one of `distill_rl.diffusion.multistep.SAMPLERS`.

        Returns:
          Actions in [-1, 1]. Shape `[T, A]` or `[B, T, A]`, float32.

        Raises:
          ValueError: if the observation has the wrong shape or is not finite, a setting is out of range, or
            a student is given a sampler.
        """
        rows = check_observation(observation, self.policy.observation_size)
        acting = self._acting(num_steps=num_steps, noise_scale=noise_scale, sampler=sampler)
        del acting["exec_horizon"]
        if "sampler" in acting and not isinstance(self.policy, ChunkDiffusionPolicy):
            raise ValueError(f"`sampler` must be None for a student, which jumps; got {acting['sampler']!r}")
        seen = torch.from_numpy(np.atleast_2d(rows))
        chunks = self.policy.sample(seen, **acting, generator=self._noise(seed)).numpy()
        return chunks.reshape(*rows.shape[:-1], *chunks.shape[1:])

    def make_executor(
        self,
        exec_horizon: int | None = None,
        num_steps: int | None = None,
        noise_scale: float | None = None,
        sampler: str | None = None,
    ) -> ChunkExecutor:
        """Returns what acts out `exec_horizon` actions of each chunk; see `act_chunk` for the rest.

        Raises:
          ValueError: if `exec_horizon` is below 1.
        """

        def plan(observation: np.ndarray) -> np.ndarray:
            return self.act_chunk(observation, num_steps, noise_scale, sampler=sampler)

        return ChunkExecutor(plan, self._acting(exec_horizon=exec_horizon)["exec_horizon"])


def check_observation(observation: np.ndarray, size: int) -> np.ndarray:
    """Returns observations as float32, copied: what is mapped from a file cannot be a tensor.

    Raises:
      ValueError: if the shape is neither `[size]` nor `[B, size]`, or an entry is not finite: actions would
        not be either.
    """
    rows = np.array(observation, np.float32)
    if rows.ndim not in (1, 2) or rows.shape[-1] != size:
        raise ValueError(f"`observation` must have shape [{size}] or [B, {size}], got {list(rows.shape)}")
    check_finite("observation", rows)
    return rows
