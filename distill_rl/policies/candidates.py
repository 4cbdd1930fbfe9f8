"""Acting by the best of several samples, as a critic sees them."""

import torch

from distill_rl.checks import check_at_least_one
from distill_rl.networks.q_ensemble import QEnsemble
from distill_rl.policies.kinds import Policy


@torch.no_grad()
def act_by_value(
    policy: Policy,
    critic: QEnsemble,
    observation: torch.Tensor,
    num_candidates: int,
    num_steps: int = 1,
    noise_scale: float = 1.0,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Draws candidates from a policy, and one of them by `softmax_k(min_i Q_i(s, a_k))`.

    The values are not divided by any temperature, so that the choice depends on the scale of the rewards.
    Source: the released code of Wang et al. (2023), "Diffusion policies as an expressive policy class for
    offline reinforcement learning", which draws from 50 candidates wherever it acts.

    Args:
      policy: draws the candidates.
      critic: values them.
      observation: shape `[M, O]`.
      num_candidates: `N`, for each state.
      num_steps: see `GenerativePolicy.sample`.
      noise_scale: see there.
      generator: source of every draw; torch's global one by default.

    Returns:
      Actions. Shape `[M, A]`.

    Raises:
      ValueError: if `num_candidates` is below 1.
    """
    check_at_least_one("num_candidates", num_candidates)
    repeated = observation.unsqueeze(1).expand(-1, num_candidates, -1)
    actions = policy.act(repeated, num_steps, noise_scale, generator)
    probs = torch.softmax(critic(repeated, actions).amin(dim=0), dim=-1)
    chosen = torch.multinomial(probs, 1, generator=generator)
    return actions[torch.arange(len(actions), device=actions.device), chosen[:, 0]]
