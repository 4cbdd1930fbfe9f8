"""The configuration of `CMPPO`: that of RLlib's PPO, with a section of our own."""

from typing import Any, Self

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from actors.policy_runner import PolicyEnvRunner, make_config_env
from distill_rl.algorithms.sectioned_config import SectionedConfig
from distill_rl.policies.actor_critic_module import ActorCriticModule
from learners.ppo.config import ConsistencyPPOConfig
from learners.ppo.learner import CMPPOLearner

_NETWORK_OPTIONS = ("noise_std", "hidden_sizes", "sigma_min", "sigma_max", "sigma_data")
_LIKELIHOOD_OPTIONS = ("likelihood", "num_ode_steps", "num_loss_samples")


class CMPPOConfig(SectionedConfig, PPOConfig):
    """Configures `CMPPO`: PPO with a consistency policy.

    Beside the sections of RLlib's PPO there is `consistency`, which takes the fields of
    `ConsistencyPPOConfig` as keyword arguments and refuses every other name. Defaults are the bounded
    variant; the paper's form is `learners.ppo.config.LITERAL_FORM`:

        config.consistency(**LITERAL_FORM)

    Environments are built by `distill_rl.envs.make_env`: any Gymnasium id, class or name registered with Ray
    Tune. `env_config` goes to the environment, except for `action_repeat`.

        config = (
            CMPPOConfig()
            .environment("dm_control/cheetah-run-v0", env_config={"action_repeat": 4})
            .training(lr=1e-3, train_batch_size_per_learner=2048, minibatch_size=256, num_epochs=10)
            .consistency(consistency_decay_steps=200_000)
        )
        algorithm = config.build_algo()

    `training` keeps RLlib's names, but defaults that suit continuous control: Adam 3e-4, 2,048 steps an
    iteration, 10 epochs, ratio clip 0.2, GAE 0.95, and no bound on the value loss, whose targets have
    deviation one.
    """

    sections = {"consistency": (ConsistencyPPOConfig,)}

    def __init__(self, algo_class: type | None = None) -> None:
        if algo_class is None:
            from distill_rl.algorithms.cm_ppo import CMPPO

            algo_class = CMPPO
        super().__init__(algo_class=algo_class)
        self.env_runner_cls = PolicyEnvRunner
        self.num_env_runners = 0
        self.num_envs_per_env_runner = 16
        self.lr = 3e-4
        self.lambda_ = 0.95
        self.clip_param = 0.2
        self.train_batch_size_per_learner = 2048
        self.minibatch_size = 256
        self.num_epochs = 10
        self.vf_clip_param = float("inf")
        self.vf_loss_coeff = 0.5
        self.use_kl_loss = False
        self.grad_clip = 0.5
        self.evaluation_config = {"explore": False, "num_envs_per_env_runner": 5}
        self._close()

    def consistency(self, **options: Any) -> Self:
        """Sets fields of `ConsistencyPPOConfig`.

        Raises:
          ValueError: for an unknown name (naming the nearest one), a wrong type, or a value out of range.
        """
        return self._set_options("consistency", options)

    @property
    def consistency_settings(self) -> ConsistencyPPOConfig:
        """The fields of the section `consistency`."""
        return self.part(ConsistencyPPOConfig)

    def check_env(self) -> None:
        """Checks that the environment can be built.

        Raises:
          ValueError: if it cannot.
        """
        make_config_env(self).close()

    def validate(self) -> None:
        """Checks every option and what the sections have to agree on.

        Raises:
          ValueError: naming the option, what was expected and what came.
        """
        super().validate()
        if self.entropy_coeff != 0.0:
            raise ValueError(
                "`entropy_coeff` must be 0, since a one-step policy has no entropy in closed form; got "
                f"{self.entropy_coeff}; set consistency(noise_std=...) to explore more"
            )

    def get_default_learner_class(self) -> type[CMPPOLearner]:
        """Returns the learner's class."""
        return CMPPOLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Returns the module's specification."""
        return RLModuleSpec(module_class=ActorCriticModule)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        settings = self.consistency_settings
        own = {
            "networks": {name: getattr(settings, name) for name in _NETWORK_OPTIONS},
            **{name: getattr(settings, name) for name in _LIKELIHOOD_OPTIONS},
            "num_steps": settings.num_sampling_steps,
            "inference_noise_scale": 0.0,
        }
        return super()._model_config_auto_includes | own
