"""The algorithm: search, distil, broadcast."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import COMPONENT_LEARNER_GROUP
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS

from actors.policy_runner import make_config_env
from distill_rl.algorithms.backpressure import BoundedQueue
from distill_rl.algorithms.broadcast import Broadcast, PublishFn
from distill_rl.algorithms.distill_config import DistillConfig
from distill_rl.algorithms.edge import Edge
from distill_rl.algorithms.fragment_gate import FragmentGate
from distill_rl.algorithms.learning import LearnerFailedError, LocalLearning, RemoteLearning
from distill_rl.algorithms.loop_config import LoopConfig
from distill_rl.algorithms.loop_metrics import LoopMetrics
from distill_rl.algorithms.recovery import get_replays, read_state, replace_learners, set_replays
from distill_rl.algorithms.sampling import Fragment, LocalSampler, RemoteSampler, Sampler
from distill_rl.algorithms.search_loop_config import SearchLoopConfig
from distill_rl.algorithms.store_publisher import StorePublisher
from distill_rl.algorithms.update_ratio import UpdateRatio
from distill_rl.storage.edge_config import RedisConfig

__all__ = ["Distill", "DistillConfig"]

_WAIT_SLICE_SEC = 0.5
_SILENT_STEP_SEC = 1.0  # after which a step without any work ends, where actors may be silent
_STREAM_WAIT_SLICE_SEC = 0.05  # how long the stream may be left alone while env runners are waited for
_MIN_CAPACITY = 16
_REPLAYS, _LOOP = "replays", "loop"


class Distill(Algorithm):
    """Policy iteration by search and distillation.

    Env runners search and send reference sets; learners distil them into the one-step policy; its averaged
    weights go back through a store that the runners pull from. `num_env_runners=0, num_learners=0` runs in
    one process and repeats itself for a seed; with runners, they search while the learner updates. With
    `edge.redis_url` reference sets also come from actors outside Ray (with `num_env_runners=0`, from them
    alone), and policies are published for them.

    Beside RLlib's own entries a result holds the section `loop`, see `LoopMetrics.result`.

    Attributes:
      description: of the simulator that is searched in, in one line.
    """

    learner_group: LearnerGroup

    @classmethod
    def get_default_config(cls) -> SearchLoopConfig:
        """Returns the default configuration."""
        return DistillConfig()

    def setup(self, config: SearchLoopConfig) -> None:
        """Checks the environment in this process, then starts actors and learners.

        Raises:
          ValueError: if the environment is unknown, has no bounded continuous actions, or cannot be
            simulated; or if Redis refuses the client.
          RedisUnreachableError: if no Redis answers.
        """
        self._loop_config = self.config.part(LoopConfig)
        self.description = f"simulator: {_probe_env(self.config)}"
        self._edge = Edge(self.config) if self.config.part(RedisConfig).redis_url is not None else None
        self._store: StorePublisher | None = None
        super().setup(config)
        loop = self._loop_config
        self._ratio = UpdateRatio(loop.updates_per_step, loop.learning_starts, loop.max_pending_updates)
        self._gate = FragmentGate(loop.max_policy_lag)
        num_requests = self.config.num_env_runners * loop.max_requests_in_flight
        self._queue: BoundedQueue[Fragment] = BoundedQueue(
            loop.max_queued_fragments or max(_MIN_CAPACITY, 2 * num_requests)
        )
        self.loop_metrics = LoopMetrics(loop.num_return_episodes)
        if self.config.num_env_runners > 0:
            self._store = StorePublisher(loop.request_timeout_sec, self.loop_metrics)
        self._sampler = self._make_sampler()
        self._learning: LocalLearning | RemoteLearning
        if self.learner_group.is_local:
            self._learning = LocalLearning(self.learner_group._learner)
        else:
            self._learning = RemoteLearning(self.learner_group, loop.request_timeout_sec)
        self._broadcast = Broadcast(
            self._publish_fns(), self._gate, self.loop_metrics, loop.publish_interval_updates
        )
        self._broadcast_now()

    @property
    def pending(self) -> list[ray.ObjectRef]:
        """References to what is at work in the background: fragments and updates in flight."""
        return [*self._sampler.pending, *self._learning.pending]

    def training_step(self) -> None:
        """Takes what actors and learners have ready, hands on what is owed, and returns.

        Waits only when nothing at all can be done, and never without a deadline.
        """
        self._await_work()
        self._learn()
        if self._edge is not None:
            self._edge.publisher.poll()

    def step(self) -> dict[str, Any]:
        """Runs one iteration of RLlib and adds the section `loop` to its result.

        Raises:
          LearnerFailedError: if a learner died or is stuck; see `recover_learners`.
        """
        try:
            result = super().step()
        except LearnerFailedError:
            raise
        except Exception:
            # An evaluation may meet a dead learner first, and say something else.
            self._learning.check_alive()
            raise
        result[_LOOP] = self.loop_metrics.result(
            gate=self._gate, ratio=self._ratio, queue=self._queue, num_in_flight=len(self._sampler.pending)
        )
        if self._edge is not None:
            result[_LOOP] |= self._edge.result()
        return result

    def evaluate(self, parallel_train_future: Any = None) -> dict[str, Any]:
        """Evaluates the distilled policy alone, without noise, and the search policy if that is configured.

        Returns:
          RLlib's results; with `num_search_evaluation_episodes`, also `search_policy` with
          `episode_return_mean`, `episode_return_std` and `num_episodes`.
        """
        result = super().evaluate(parallel_train_future)
        num_episodes = self._loop_config.num_search_evaluation_episodes
        if num_episodes:
            result["search_policy"] = self.evaluate_search(num_episodes)
        return result

    def evaluate_search(self, num_episodes: int) -> dict[str, float]:
        """Measures the search policy: whole episodes in which every action is the best of a search.

        Runs on the evaluation runners, with the weights of the last `evaluate` call.
        """
        group = self.eval_env_runner_group
        num_remote = group.num_healthy_remote_env_runners()
        share = -(-num_episodes // max(1, num_remote))
        returns = group.foreach_env_runner(
            lambda runner: runner.evaluate_search(share), local_env_runner=num_remote == 0
        )
        values = np.concatenate([np.asarray(r, np.float64) for r in returns])[:num_episodes]
        return {
            "episode_return_mean": float(values.mean()),
            "episode_return_std": float(values.std()),
            "num_episodes": len(values),
        }

    def recover_learners(self, path: str | Path) -> None:
        """Replaces the learners, dead or alive, by new ones with the state of a checkpoint.

        Env runners stay as they are, and counters of what they did go on; updates, and with them the policy
        version, go back to those of the checkpoint. What the old learners have trained on since then is lost,
        not what they were at.

        Args:
          path: a checkpoint of this algorithm. Its files are pickles: only a trusted one.

        Raises:
          ValueError: if the learner works in this process.
        """
        if not isinstance(self._learning, RemoteLearning):
            raise ValueError("`num_learners` must be at least 1 to recover learners, got 0")
        self._learning.kill()
        self.learner_group = replace_learners(self.learner_group, self.config)
        self.learner_group.restore_from_path(str(Path(path) / COMPONENT_LEARNER_GROUP))
        state = read_state(path)
        self._ratio.set_state(state[_LOOP]["ratio"])
        if _REPLAYS in state:
            set_replays(self.learner_group, self.config, state[_REPLAYS])
        # What the old learners were given last is in no checkpoint.
        for fragment in self._learning.unfinished + self._queue.pop_all():
            self._enqueue(fragment)
        self._learning = RemoteLearning(self.learner_group, self._loop_config.request_timeout_sec)
        self.loop_metrics.num_learner_restarts += 1
        self._broadcast_now()

    def restore_env_runners(self, env_runner_group: EnvRunnerGroup) -> list[int]:
        """Takes restarted runners back into service; they pull their weights with their next request."""
        if env_runner_group.num_remote_env_runners() == 0:
            return []
        restored = env_runner_group.probe_unhealthy_env_runners() or []
        if env_runner_group is self.env_runner_group:
            self.loop_metrics.num_restarts += len(restored)
        return restored

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict:
        """Returns RLlib's state, the loop's counters, and every learner's replay.

        Raises:
          LearnerFailedError: if a learner does not finish what it is at.
        """
        self._learning.settle()
        self._take_reports()
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(_LOOP, components, not_components):
            state[_LOOP] = {
                "ratio": self._ratio.get_state(),
                "gate": self._gate.get_state(),
                "metrics": self.loop_metrics.get_state(),
                "num_dropped": self._queue.num_dropped,
                "stream": self._sampler.get_state(),
            }
        if self._loop_config.checkpoint_replay and self._check_component(
            _REPLAYS, components, not_components
        ):
            state[_REPLAYS] = get_replays(self.learner_group)
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores a state, of an earlier or a later time, and broadcasts its weights."""
        self._learning.drain()
        super().set_state(state)
        if _LOOP in state:
            self._ratio.set_state(state[_LOOP]["ratio"])
            self._gate.set_state(state[_LOOP]["gate"])
            self.loop_metrics.set_state(state[_LOOP]["metrics"], self._ratio.num_updates)
            self._queue.pop_all()
            self._queue.num_dropped = state[_LOOP].get("num_dropped", 0)
            self._sampler.forget()
            if state[_LOOP].get("stream"):  # of a run with actors outside Ray
                self._sampler.set_state(state[_LOOP]["stream"])
        if _REPLAYS in state:
            set_replays(self.learner_group, self.config, state[_REPLAYS])
        self._broadcast_now()

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Restores a checkpoint, of an earlier or a later time, and broadcasts its weights."""
        self._learning.drain()
        super().restore_from_path(path, *args, **kwargs)
        self._broadcast_now()

    def cleanup(self) -> None:
        """Stops every actor."""
        super().cleanup()
        if self._edge is not None:
            self._edge.close()
        if self._store is not None:
            self._store.close()

    @classmethod
    def _should_create_evaluation_env_runners(cls, eval_config: Any) -> bool:
        return True  # `evaluate` must not disturb, nor depend on, the runners that search

    def _await_work(self) -> None:
        """Takes what is ready; waits until something is, or until the learner can go on.

        Raises:
          TimeoutError: naming what it waited for.
        """
        may_be_silent = self._sampler.may_be_silent
        patience_sec = _SILENT_STEP_SEC if may_be_silent else 2 * self._loop_config.request_timeout_sec
        deadline = time.monotonic() + patience_sec
        self._learning.check()
        while time.monotonic() < deadline:
            self._request()
            num_taken = self._take_fragments() + self._take_reports()
            if num_taken or (self._learning.is_free and (self._ratio.due or len(self._queue))):
                return
            self._sampler.check()
            self._learning.check()
            pending = self.pending
            if pending:
                slice_sec = _STREAM_WAIT_SLICE_SEC if may_be_silent else _WAIT_SLICE_SEC
                ray.wait(pending, num_returns=1, timeout=slice_sec, fetch_local=False)
            else:
                self._sampler.wait(_WAIT_SLICE_SEC)
            self.restore_env_runners(self.env_runner_group)
        if not may_be_silent:
            raise TimeoutError(
                f"nothing came for {patience_sec} s from {self._sampler.describe()} "
                f"or {self._learning.describe()}"
            )

    def _learn(self) -> None:
        """Hands the learner what waits and what is owed now; between calls, keeps the runners busy."""
        if self._sampler.runs_in_background:
            self._request()
        num_owed = self._ratio.due
        if num_owed:
            self.loop_metrics.check_sets()
        while self._learning.is_free and (num_owed or len(self._queue)):
            num_updates = self._ratio.take(min(num_owed, self._loop_config.updates_per_call))
            num_owed -= num_updates
            self._learning.submit(self._queue.pop_all(), num_updates)
            self._take_reports()
            if num_owed and self._sampler.runs_in_background:
                self._take_fragments()
                self._request()

    def _request(self) -> None:
        """Asks for as many fragments as there will be room for, unless too many updates are owed."""
        if self._ratio.can_insert:
            room = self._queue.capacity - len(self._queue) - len(self._sampler.pending)
            self._sampler.request(room)

    def _take_fragments(self) -> int:
        fragments = self._sampler.poll()
        for fragment in fragments:
            self._take_fragment(fragment)
        return len(fragments)

    def _take_fragment(self, fragment: Fragment) -> None:
        header = fragment.header
        is_wanted = self._gate.accept(
            actor_id=header.actor_id,
            sequence=header.sequence,
            policy_version=header.policy_version,
            num_sets=header.num_sets,
        )
        self.loop_metrics.add_fragment(header)
        self.metrics.aggregate([header.metrics], key=ENV_RUNNER_RESULTS)
        self._ratio.insert(header.num_env_steps)
        if is_wanted:
            self._enqueue(fragment)
        else:
            self._sampler.settle([fragment])

    def _enqueue(self, fragment: Fragment) -> None:
        dropped = self._queue.put(fragment)
        if dropped is not None:
            self._sampler.settle([dropped])  # else its message would stay in the stream for good

    def _take_reports(self) -> int:
        finished = self._learning.poll()
        for fragments, reports in finished:
            self._sampler.settle(fragments)
            self.loop_metrics.add_reports(reports)
            self.metrics.aggregate([report.metrics for report in reports], key=LEARNER_RESULTS)
            self._broadcast.offer(reports[0])
        return len(finished)

    def _broadcast_now(self) -> None:
        """Broadcasts the learner's weights as they are, for a start or after a restore."""
        reports = [r.get() for r in self.learner_group.foreach_learner(lambda learner: learner.update())]
        self.loop_metrics.add_reports(reports)
        self._broadcast.start(reports[0])

    def _make_sampler(self) -> Sampler:
        remote = None
        if self._store is not None:
            remote = RemoteSampler(self.env_runner_group, self._store, self._gate, self._loop_config)
        if self._edge is not None:
            return self._edge.make_sampler(self._gate, remote)
        return remote or LocalSampler(self.env_runner, self._gate)

    def _publish_fns(self) -> list[PublishFn]:
        """Returns the ways to actors outside Ray, and to the runners: by a store, or in this process."""
        outside = [] if self._edge is None else [self._edge.publish]
        return [*outside, self.env_runner.set_weights_of if self._store is None else self._store.publish]


def _probe_env(config: SearchLoopConfig) -> str:
    """Builds the environment, and what searches will step, once; returns the simulator's description."""
    env = make_config_env(config)
    try:
        assert env.observation_space.shape is not None and env.action_space.shape is not None
        networks = config.make_networks(env.observation_space.shape[0], env.action_space.shape[0])
        return config.make_operator(env, networks).simulator.description
    finally:
        env.close()
