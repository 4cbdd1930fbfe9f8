"""How the advantages of actions weigh a loss that clones them.

A loss `L >= 0` times an advantage is not bounded below where the advantage is negative: making the policy
worse at such an action, without end, always pays. Non-negative weights take that away.
"""

from torch import Tensor

from distill_rl.checks import check_choice
from learners.offline.values import boltzmann_log_weights

ADVANTAGE_WEIGHTS = ("exponential", "clamp", "linear")


def advantage_weights(advantages: Tensor, kind: str, target_kl: float) -> Tensor:
    """Returns the weights of a batch of actions.

    * `exponential`: `M softmax(A / eta)`, positive and of mean one, with eta such that their divergence from
      uniform weights is `target_kl`: the E-step of MPO (Abdolmaleki et al. 2018) over the batch, or
      advantage-weighted regression (Peng et al. 2019) with a temperature that needs no tuning.
    * `clamp`: `max(A, 0)`, as in self-imitation learning (Oh et al. 2018).
    * `linear`: `A`, as Fang & Di have it.

    Args:
      advantages: shape `[M]`.
      kind: one of `ADVANTAGE_WEIGHTS`.
      target_kl: of `exponential`, in nats.

    Returns:
      Shape `[M]`.

    Raises:
      ValueError: if the kind is unknown.
    """
    check_choice("kind", kind, ADVANTAGE_WEIGHTS)
    if kind == "linear":
        return advantages
    if kind == "clamp":
        return advantages.clamp_min(0.0)
    return len(advantages) * boltzmann_log_weights(advantages.unsqueeze(0), target_kl).exp().squeeze(0)
