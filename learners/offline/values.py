"""Learning values of actions, and policies from them."""

import math

import torch
from torch import Tensor

from distill_rl.checks import check_at_least_one, check_positive, check_shape
from distill_rl.networks.q_ensemble import QEnsemble
from distill_rl.policies.diffusion import DiffusionPolicy
from distill_rl.policies.kinds import Policy
from distill_rl.types import ReferenceSet
from learners.offline.transitions import TransitionBatch

_NUM_BISECTIONS = 40


@torch.no_grad()
def temporal_difference_targets(
    batch: TransitionBatch,
    policy: Policy,
    critic: QEnsemble,
    *,
    discount: float,
    num_steps: int,
    num_actions: int,
    is_normalized: bool,
    generator: torch.Generator,
) -> Tensor:
    """Returns `r + discount (1 - terminal) min_i max_k Q_i(s', a_k)` with `a_k ~ pi(s')`.

    Source: Fujimoto et al. (2018), "TD3", for the minimum; Kumar et al. (2019), "BEAR", for the maximum over
    several actions ("max-Q backup").

    Args:
      batch: of tensors.
      policy: the averaged policy.
      critic: the averaged critic.
      discount: of one step.
      num_steps: denoising steps of an action.
      num_actions: actions at each next state, at least 1.
      is_normalized: whether the targets are divided by their standard deviation over the batch, as in the
        released code of Ding & Jin (2024).
      generator: source of every draw.

    Returns:
      Shape `[B]`, in reward units unless normalised.

    Raises:
      ValueError: if `num_actions` is below 1.
    """
    check_at_least_one("num_actions", num_actions)
    repeated = batch.next_observation.unsqueeze(1).expand(-1, num_actions, -1)
    actions = policy.sample(repeated, num_steps, generator=generator)
    next_value = critic(repeated, actions).amax(dim=-1).amin(dim=0)
    targets: Tensor = batch.reward + discount * (1.0 - batch.is_terminal) * next_value
    return targets / targets.std().clamp_min(1e-6) if is_normalized else targets


def critic_loss(critic: QEnsemble, batch: TransitionBatch, targets: Tensor) -> Tensor:
    """Returns `sum_i mean (Q_i(s, a) - target)^2`.

    Args:
      critic: learns.
      batch: of tensors.
      targets: shape `[B]`.

    Returns:
      Shape `[]`.

    Raises:
      ValueError: if `targets` has another shape than the rewards.
    """
    check_shape("targets", targets, tuple(batch.reward.shape))
    squared: Tensor = (critic(batch.observation, batch.action) - targets).square()
    return squared.mean(dim=-1).sum()


def policy_gradient_loss(q_values: Tensor, generator: torch.Generator) -> Tensor:
    """Returns `-mean Q_i / mean |Q_j|` with the two members in random order, the divisor not differentiated.

    Source: Wang et al. (2023), "Diffusion policies as an expressive policy class for offline reinforcement
    learning", Eq. (3) and the paragraph that follows it.

    Args:
      q_values: of the policy's own actions, differentiable. Shape `[2, B]`.
      generator: of the order.

    Returns:
      Shape `[]`.

    Raises:
      ValueError: if there are not two members.
    """
    check_shape("q_values", q_values, (2, None))
    first = int(torch.randint(2, (), generator=generator, device=generator.device))
    return -q_values[first].mean() / q_values[1 - first].abs().mean().detach().clamp_min(1e-6)


@torch.no_grad()
def behaviour_candidates(
    observation: Tensor,
    taken_action: Tensor,
    behaviour: DiffusionPolicy,
    num_candidates: int,
    generator: torch.Generator,
) -> Tensor:
    """Returns draws from what made the data: the action that was taken, then draws of a model of the data.

    Source: Chen et al. (2023), "Offline reinforcement learning via high-fidelity generative behavior
    modeling".

    Args:
      observation: shape `[B, O]`.
      taken_action: shape `[B, A]`.
      behaviour: model of the data.
      num_candidates: `N`, at least 1.
      generator: source of every draw.

    Returns:
      Shape `[B, N, A]`.

    Raises:
      ValueError: if `num_candidates` is below 1.
    """
    check_at_least_one("num_candidates", num_candidates)
    repeated = observation.unsqueeze(1).expand(-1, num_candidates - 1, -1)
    drawn = behaviour.sample(repeated, generator=generator)
    return torch.cat([taken_action.unsqueeze(1), drawn], dim=1)


def ascend_values(observation: Tensor, candidates: Tensor, critic: QEnsemble, max_distance: float) -> Tensor:
    """Moves candidates up the critic: `clip(a_n + d_n g_n / max(|g_n|, G), -1, 1)`.

    `g = grad_a mean_i Q_i(s, a)`, in whose mean errors of the members cancel, and `G` is the mean of `|g|`
    over all candidates of the batch: where the critic is flatter there is less to gain, and steps are
    shorter. The distances `d_n` are even, from 0 of the first candidate to `max_distance` of the last, so
    that weights by value decide how far is worth going. Source of the step: Park et al. (2024), "Is value
    learning really the main bottleneck in offline RL?", arXiv:2406.09329, whose policy takes it whenever it
    acts ("OPEX").

    Args:
      observation: shape `[B, O]`.
      candidates: in [-1, 1]. Shape `[B, N, A]`.
      critic: stays as it is.
      max_distance: `d_N`, Euclidean, in units of actions. A single candidate stays where it is.

    Returns:
      Shape `[B, N, A]`.
    """
    with torch.enable_grad():
        start = candidates.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(critic(observation.unsqueeze(1), start).mean(dim=0).sum(), start)
    distance = torch.linspace(0.0, max_distance, candidates.shape[1], device=candidates.device)
    norm = gradient.norm(dim=-1, keepdim=True)
    scale = torch.maximum(norm, norm.mean()).clamp_min(torch.finfo(norm.dtype).tiny)
    moved: Tensor = candidates + distance.unsqueeze(-1) * gradient / scale
    return moved.clamp(-1.0, 1.0)


@torch.no_grad()
def critic_reference_set(
    observation: Tensor, candidates: Tensor, critic: QEnsemble, target_kl: float
) -> ReferenceSet:
    """Weighs candidates by a critic: `p* ~ beta exp(min_i Q_i / eta)`.

    The candidates are draws from the prior `beta`, so the weights over them are `softmax(Q / eta)`, with one
    eta such that they diverge from uniform by `target_kl` in the mean over the states. Source: Peters et al.
    (2010), "Relative entropy policy search"; Abdolmaleki et al. (2018), "Maximum a posteriori policy
    optimisation", Section 4.1.

    Args:
      observation: shape `[B, O]`.
      candidates: shape `[B, N, A]`.
      critic: the averaged critic.
      target_kl: mean over the states, in nats.

    Returns:
      A reference set in the mass convention.

    Raises:
      ValueError: if `target_kl` is not positive.
    """
    q_values = critic(observation.unsqueeze(1), candidates).amin(dim=0)
    log_weights = boltzmann_log_weights(q_values, target_kl)
    return ReferenceSet(
        observation=observation,
        actions=candidates,
        log_probs=log_weights,
        log_proposals=torch.zeros_like(log_weights),
        value=(log_weights.exp() * q_values).sum(dim=-1),
        policy_value=q_values.mean(dim=-1),
        policy_version=0,
    )


def boltzmann_log_weights(q_values: Tensor, target_kl: float) -> Tensor:
    """Returns `log softmax(Q / eta)` with one eta for all states: `mean KL(. || uniform) = target_kl`.

    States where candidates differ much diverge more than those where they hardly do, and where the order of
    values is the critic's error. By bisection on `log eta`. A target beyond `log N` gives the best candidate,
    and equal values give uniform weights.

    Args:
      q_values: shape `[B, N]`.
      target_kl: > 0, in nats; the mean over the states.

    Returns:
      Normalised for each state. Shape `[B, N]`.

    Raises:
      ValueError: if `target_kl` is not positive.
    """
    check_positive("target_kl", target_kl)
    advantage = q_values - q_values.amax(dim=-1, keepdim=True)
    spread = -advantage.amin(dim=-1).mean()
    relative = advantage / spread.clamp_min(torch.finfo(q_values.dtype).tiny)
    log_count = math.log(q_values.shape[-1])
    low, high = torch.full_like(spread, -16.0), torch.full_like(spread, 16.0)  # of log eta / spread
    for _ in range(_NUM_BISECTIONS):
        middle = 0.5 * (low + high)
        log_weights = torch.log_softmax(relative * torch.exp(-middle), dim=-1)
        kl = (log_weights.exp() * log_weights).sum(dim=-1).mean() + log_count
        is_too_sharp = kl > target_kl
        low, high = torch.where(is_too_sharp, middle, low), torch.where(is_too_sharp, high, middle)
    return torch.log_softmax(relative * torch.exp(-high), dim=-1)
