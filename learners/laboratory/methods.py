"""The losses that the laboratory compares, by name."""

from typing import Any

METHODS: dict[str, dict[str, Any]] = {
    # Fang & Di's three rows, as Alg. 1 and 2 are printed.
    "original": {"objective": "denoising", "posterior": "single_sample"},
    "gumbel": {"objective": "denoising", "posterior": "gumbel"},
    "importance": {"objective": "denoising", "posterior": "importance"},
    # The same loss with other estimators.
    "corrected": {"objective": "denoising", "posterior": "proposal_corrected"},
    "stein": {"objective": "denoising", "posterior": "stein"},
    "defensive mixture": {"objective": "denoising", "posterior": "defensive_mixture"},
    "control variate": {"objective": "denoising", "posterior": "control_variate"},
    # One-step maps: consistency training, and with the estimate in place of the source (Appendix A.1).
    "CT": {"objective": "consistency", "posterior": "single_sample"},
    "CT, N(k)": {
        "objective": "consistency",
        "posterior": "single_sample",
        "noise_level_schedule": "adaptive",
    },
    "iCT": {
        "objective": "consistency",
        "posterior": "single_sample",
        "noise_level_schedule": "improved",
        "distance": "pseudo_huber",
    },
    "ECT": {
        "objective": "consistency",
        "posterior": "single_sample",
        "noise_level_schedule": "easy",
        "distance": "pseudo_huber",
    },
    "CT, gumbel": {"objective": "consistency", "posterior": "gumbel"},
    "CT, importance": {"objective": "consistency", "posterior": "importance"},
    "CT, corrected": {"objective": "consistency", "posterior": "proposal_corrected"},
    "CT, corrected, Heun": {
        "objective": "consistency",
        "posterior": "proposal_corrected",
        "ode_solver": "heun",
    },
    "energy": {"objective": "energy", "posterior": "proposal_corrected"},
    "endpoint, importance": {"objective": "endpoint", "posterior": "importance"},
    "endpoint": {"objective": "endpoint", "posterior": "proposal_corrected"},
    "endpoint, stein": {"objective": "endpoint", "posterior": "stein", "num_ode_steps": 12},
    "endpoint, defensive mixture": {
        "objective": "endpoint",
        "posterior": "defensive_mixture",
        "num_ode_steps": 12,
    },
}
"""Fields of `DistillationConfig` that make up each loss."""
