"""Boltzmann weights whose temperature is set by a target, a divergence or an effective sample size.

The E-step of MPO: `p_k ~ prior_k exp(Q_k / eta)` is the distribution of largest expected value within
`KL(p || prior) = target`. Source: Abdolmaleki et al. (2018), "Maximum a Posteriori Policy Optimisation",
Section 4.1, https://arxiv.org/abs/1806.06920. There one temperature serves a batch; here each state has its
own unless told otherwise, so the sharpness of its weights never depends on the scale of its rewards.
"""

from collections.abc import Callable

import numpy as np

from distill_rl.checks import check_positive, check_shape

# Temperatures are searched within these multiples of the spread of a state's values.
_MIN_RELATIVE_TEMPERATURE = 1e-8
_MAX_RELATIVE_TEMPERATURE = 1e8
_TOLERANCE = 2e-12  # in log eta
_ROUNDING = 1e-12  # values that differ by less than this, relative to their magnitude, are the same


def solve_temperature(
    q_values: np.ndarray, target_kl: float, *, log_prior: np.ndarray | None = None, is_shared: bool = False
) -> np.ndarray:
    """Solves `KL(softmax(Q / eta + log prior) || prior) = target_kl` for eta.

    The solution minimises the dual `g(eta) = eta * target + eta * log sum_k prior_k exp(Q_k / eta)`. The
    divergence falls with eta from `-log prior(argmax Q)` to zero; a target above that range gives the
    smallest temperature tried (the greedy limit). Candidates whose value is not finite take no part: the
    prior is renormalised over the others.

    A shared temperature meets the target in the mean over states, as MPO does: where actions matter little
    the policy then changes little.

    Args:
      q_values: action values, in reward units. Shape `[B, N]`; non-finite values mask a candidate.
      target_kl: > 0, in nats.
      log_prior: logarithm of the prior, up to a constant. Shape `[B, N]`; uniform by default.
      is_shared: one temperature for all states, instead of one each.

    Returns:
      Temperatures in reward units; infinite where every value is the same or none is finite. Shape `[B]`.

    Raises:
      ValueError: if `target_kl` is not positive or a shape is wrong.
    """
    check_positive("target_kl", target_kl)
    advantage, prior, spread = _spread(q_values, log_prior)
    if is_shared:
        spread = np.full_like(spread, spread.max(initial=0.0))

    def log_excess(relative: np.ndarray, inverse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kl, slope = _boltzmann_kl(relative, prior, inverse)
        if is_shared:
            kl, slope = np.full_like(kl, kl.mean()), np.full_like(slope, slope.mean())
        return np.log(kl / target_kl), slope / kl

    return _solve(log_excess, advantage, spread)


def solve_temperature_by_ess(
    q_values: np.ndarray, target_ess: float, *, log_prior: np.ndarray | None = None
) -> np.ndarray:
    """Solves `ESS(eta) = target_ess` for eta, state by state.

    `ESS = n / sum_k (p_k^2 / prior_k)` of `p = softmax(Q / eta + log prior)` over `n` candidates with mass is
    Kish's effective sample size of weights `p / prior`. It rises with eta from `n prior(argmax Q)` to `n`; a
    target outside of that range gives the smallest or the largest temperature tried.

    Args:
      q_values: action values, in reward units. Shape `[B, N]`; non-finite values mask a candidate.
      target_ess: at least 1.
      log_prior: logarithm of the prior, up to a constant. Shape `[B, N]`; uniform by default.

    Returns:
      Temperatures in reward units; infinite where every value is the same or none is finite. Shape `[B]`.

    Raises:
      ValueError: if `target_ess` is below 1 or a shape is wrong.
    """
    if not target_ess >= 1.0:
        raise ValueError(f"`target_ess` must be at least 1, got {target_ess}")
    advantage, prior, spread = _spread(q_values, log_prior)
    count = (prior > 0.0).sum(axis=-1)

    def log_excess(relative: np.ndarray, inverse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scaled = relative * inverse[:, None]
        ratio = np.exp(scaled)
        first, second = prior * ratio, prior * ratio**2
        sum_first, sum_second = first.sum(axis=-1), second.sum(axis=-1)
        slope_first, slope_second = (first * scaled).sum(axis=-1), 2.0 * (second * scaled).sum(axis=-1)
        excess = np.log(target_ess * sum_second / (count * sum_first**2))
        return excess, slope_second / sum_second - 2.0 * slope_first / sum_first

    return _solve(log_excess, advantage, spread)


def improved_policy(
    q_values: np.ndarray,
    *,
    target_kl: float | None = None,
    target_ess: float | None = None,
    log_prior: np.ndarray | None = None,
    is_shared: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns `log softmax(Q / eta + log prior)` with eta set by a target, and eta.

    Args:
      q_values: action values; candidates whose value is not finite get no mass. Shape `[B, N]`.
      target_kl: see `solve_temperature`.
      target_ess: see `solve_temperature_by_ess`; goes before `target_kl`.
      log_prior: logarithm of the prior, up to a constant. Shape `[B, N]`; uniform by default.
      is_shared: see `solve_temperature`.

    Returns:
      Normalised log-weights `[B, N]`, and temperatures in reward units `[B]`.

    Raises:
      ValueError: if no target is given, one is out of range, or a shape is wrong.
    """
    if target_ess is not None:
        temperature = solve_temperature_by_ess(q_values, target_ess, log_prior=log_prior)
    elif target_kl is not None:
        temperature = solve_temperature(q_values, target_kl, log_prior=log_prior, is_shared=is_shared)
    else:
        raise ValueError("`target_kl` or `target_ess` must be given, got neither")
    return boltzmann_log_weights(q_values, temperature, log_prior=log_prior), temperature


def boltzmann_log_weights(
    q_values: np.ndarray, temperature: np.ndarray, *, log_prior: np.ndarray | None = None
) -> np.ndarray:
    """Returns `log softmax(Q / temperature + log prior)` over the candidates.

    Args:
      q_values: action values. Shape `[B, N]`; candidates whose value is not finite get no mass.
      temperature: > 0, in the units of `q_values`; infinity gives the prior. Shape `[B]`.
      log_prior: logarithm of the prior, up to a constant. Shape `[B, N]`; uniform by default.

    Returns:
      Log-weights; `-inf` for masked candidates, the prior over all where none is left. Shape `[B, N]`.

    Raises:
      ValueError: if a shape is wrong.
    """
    advantage, prior = _masked(q_values, log_prior)
    check_shape("temperature", temperature, (len(advantage),))
    with np.errstate(divide="ignore"):
        logits = advantage / temperature[:, None] + np.log(prior)
    largest = logits.max(axis=-1, keepdims=True)
    return logits - largest - np.log(np.exp(logits - largest).sum(axis=-1, keepdims=True))


def kl_divergence(log_weights: np.ndarray, log_prior: np.ndarray | None = None) -> np.ndarray:
    """Returns `KL(weights || prior) = sum_k w_k (log w_k - log prior_k)` in nats.

    Args:
      log_weights: normalised log-weights. Shape `[..., N]`.
      log_prior: normalised log-prior. Shape `[..., N]`; uniform by default.

    Returns:
      Shape `[...]`.
    """
    weights = np.exp(log_weights)
    prior = -np.log(log_weights.shape[-1]) if log_prior is None else log_prior
    with np.errstate(invalid="ignore"):
        terms = weights * (log_weights - prior)
    return np.where(weights > 0.0, terms, 0.0).sum(axis=-1)


def effective_sample_size(log_weights: np.ndarray) -> np.ndarray:
    """Returns Kish's effective sample size `1 / sum_k w_k^2` of normalised weights: 1 to N.

    Source: Kish (1965), "Survey Sampling", Section 8.2.

    Args:
      log_weights: normalised log-weights. Shape `[..., N]`.

    Returns:
      Shape `[...]`.
    """
    return 1.0 / np.exp(2.0 * log_weights).sum(axis=-1)


def _spread(q_values: np.ndarray, log_prior: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns what `_masked` does, and by how much the values of each state differ: 0 within rounding."""
    advantage, prior = _masked(q_values, log_prior)
    spread = -advantage.min(axis=-1, initial=0.0)
    magnitude = np.where(np.isfinite(q_values), np.abs(q_values), 0.0).max(axis=-1)
    return advantage, prior, np.where(spread <= _ROUNDING * magnitude, 0.0, spread)


def _solve(
    log_excess: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    advantage: np.ndarray,
    spread: np.ndarray,
) -> np.ndarray:
    """Returns the temperatures at which `log_excess(advantage / spread, spread / eta)` is zero.

    By Newton's method on `log eta`, inside an interval that each step narrows. A step that leaves it, or is
    more than half as long as the one before, is replaced by one to its middle: so it ends whatever the shape
    (Press et al., "Numerical recipes", Section 9.4).

    Args:
      log_excess: how sharp the weights are, as a logarithm over the target, and its derivative with respect
        to the logarithm of its second argument; rises with that.
      advantage: shape `[B, N]`.
      spread: shape `[B]`.

    Returns:
      The temperature tried that is nearest where none solves it; infinite where `spread` is 0. Shape `[B]`.
    """
    is_constant = spread == 0.0
    relative = advantage / np.where(is_constant, 1.0, spread)[:, None]
    low = np.full(len(relative), np.log(_MIN_RELATIVE_TEMPERATURE))
    high = np.full(len(relative), np.log(_MAX_RELATIVE_TEMPERATURE))
    last_step = high - low
    # The divergence of a wide temperature underflows to zero, and its logarithm is -inf: not sharp enough.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        is_unsolved = ~is_constant & (log_excess(relative, np.exp(-low))[0] > 0.0)
        position = np.where(is_unsolved, 0.0, low)
        while is_unsolved.any():
            excess, slope = log_excess(relative, np.exp(-position))
            is_sharp = excess > 0.0
            low, high = np.where(is_sharp, position, low), np.where(is_sharp, high, position)
            newton = position + excess / slope
            is_good = (newton >= low) & (newton <= high) & (np.abs(newton - position) <= 0.5 * last_step)
            following = np.where(is_good, newton, 0.5 * (low + high))
            last_step = np.abs(following - position)
            is_unsolved &= last_step > _TOLERANCE
            position = np.where(is_unsolved, following, position)
    return np.where(is_constant, np.inf, spread * np.exp(position))


def _masked(q_values: np.ndarray, log_prior: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns `Q - max Q` (zero where masked) and the prior over valid candidates. Shapes `[B, N]`."""
    check_shape("q_values", q_values, (None, None))
    q_values = np.asarray(q_values, np.float64)
    is_valid = np.isfinite(q_values)
    if log_prior is None:
        log_prior = np.zeros_like(q_values)
    check_shape("log_prior", log_prior, q_values.shape)
    prior = np.exp(log_prior - log_prior.max(axis=-1, keepdims=True))
    is_valid &= prior > 0.0
    # With no valid candidate the prior over all of them is left.
    valid_prior = np.where(is_valid | ~is_valid.any(axis=-1, keepdims=True), prior, 0.0)
    best = np.where(is_valid, q_values, -np.inf).max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        advantage = np.where(is_valid, q_values - best, 0.0)
    return advantage, valid_prior / valid_prior.sum(axis=-1, keepdims=True)


def _boltzmann_kl(
    advantage: np.ndarray, prior: np.ndarray, inverse_temperature: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns `KL(p || prior)` of `p ~ prior exp(advantage * inverse_temperature)`, and its derivative.

    The derivative is that with respect to the logarithm of the inverse temperature: the variance of
    `advantage * inverse_temperature` under `p`. Shapes `[B]`.
    """
    scaled = advantage * inverse_temperature[:, None]
    weights = prior * np.exp(scaled)
    total = weights.sum(axis=-1)
    mean = np.einsum("bn,bn->b", weights, scaled) / total
    centred = scaled - mean[:, None]
    return mean - np.log(total), np.einsum("bn,bn,bn->b", weights, centred, centred) / total
