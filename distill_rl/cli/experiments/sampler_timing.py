"""What an action costs by each sampler of one network, Tables 3 and 5 of Duan et al. (2025), RACTD.

Time depends on the sizes of the network alone, so that its weights are drawn and not learned. Samplers take
turns; every figure is of one process, and ratios are those of a turn. Diffuser has the networks, horizon and
steps that Janner et al. (2022) run it with on Gym's robots: sequences of states and actions, and a guide.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from distill_rl.checks import check_choice
from distill_rl.cli.experiments.base import SCALES, Experiment, Row, Rows
from distill_rl.cli.experiments.jobs import run_jobs, save_result
from distill_rl.cli.machine import describe_machine
from distill_rl.cli.plots import STYLE
from distill_rl.diffusion.multistep import sample_diffusion, variance_preserving_sigmas
from distill_rl.diffusion.schedules import karras_sigmas
from distill_rl.networks.plan_networks import PlanReturn, PlanUNet
from distill_rl.networks.trajectory_networks import ConditionedUNet
from distill_rl.policies.plan_sampling import diffusion_sampler
from distill_rl.policies.state_plans import PlanDenoiser
from distill_rl.policies.trajectory import TrajectoryDenoiser, TrajectoryJumper

TEACHER, STUDENT = "EDM Heun, 80 levels (teacher)", "student, 1 jump"
_OBSERVATION_SIZE, _ACTION_SIZE, _NUM_STEPS = 11, 3, 16
_SIGMA_MIN, _SIGMA_MAX, _NUM_LEVELS = 0.02, 80.0, 80
_STUDENT_SIGMAS = (3.0, 0.6, 0.1)
"""Levels that further jumps start from; what they are does not change what they cost."""
_DIFFUSER = "Diffuser, 20 guided steps"
_DIFFUSER_HORIZON, _DIFFUSER_STEPS, _GUIDANCE_SCALE = 32, 20, 0.1


@dataclasses.dataclass(frozen=True)
class _Scale:
    """Channels of the levels of the networks, how often each sampler takes its turn, and for how long."""

    level_sizes: tuple[int, ...]
    diffuser_level_sizes: tuple[int, ...]
    num_repeats: int
    min_sec: float


_SCALES = {
    "tiny": _Scale((8, 16, 32), (8, 16), 1, 0.0),
    "small": _Scale((128, 256, 512), (32, 64, 128, 256), 5, 0.5),
    "full": _Scale((512, 1024, 2048), (32, 64, 128, 256), 5, 0.5),
}


def time_samplers(
    level_sizes: tuple[int, ...], diffuser_level_sizes: tuple[int, ...], num_repeats: int, min_sec: float
) -> list[Row]:
    """Times every sampler on one state, by turns.

    Args:
      level_sizes: channels of the levels of teacher and student.
      diffuser_level_sizes: of Diffuser's denoiser and guide.
      num_repeats: turns of each sampler.
      min_sec: each turn calls its sampler until so many seconds have passed, at least once.

    Returns:
      A row for each: `sampler`, `num_evaluations` of the network that denoises or jumps, `action_sec` of each
      turn (cpu-seconds, or those of the clock on a graphics processor), `speed_up` over the teacher in each
      turn.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    calls = _Calls()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of the weights
        samplers = _make_samplers(level_sizes, device, calls)
        samplers[_DIFFUSER] = _make_diffuser(diffuser_level_sizes, device, calls)
    evaluations: dict[str, int] = {}
    for name, sampler in samplers.items():
        calls.count = 0
        sampler()
        evaluations[name] = calls.count
    seconds: dict[str, list[float]] = {name: [] for name in samplers}
    for _ in range(num_repeats):
        for name, sampler in samplers.items():
            seconds[name].append(_time(sampler, device, min_sec))
    reference = np.array(seconds[TEACHER])
    return [
        {
            "sampler": name,
            "num_evaluations": evaluations[name],
            "action_sec": taken,
            "speed_up": (reference / np.array(taken)).tolist(),
            "level_sizes": list(level_sizes),
            "device": str(device),
            "machine": describe_machine(),
        }
        for name, taken in seconds.items()
    ]


@dataclasses.dataclass
class _Calls:
    """Counts evaluations of the networks."""

    count: int = 0


def _make_samplers(
    level_sizes: tuple[int, ...], device: torch.device, calls: _Calls
) -> dict[str, Callable[[], torch.Tensor]]:
    networks = [
        ConditionedUNet(_OBSERVATION_SIZE, _ACTION_SIZE, num_levels, level_sizes=level_sizes)
        .to(device)
        .eval()
        .requires_grad_(False)
        for num_levels in (1, 2)
    ]
    for network in networks:
        network.register_forward_hook(lambda *_: setattr(calls, "count", calls.count + 1))
    teacher = TrajectoryDenoiser(networks[0])
    student = TrajectoryJumper(networks[1], sigma_min=_SIGMA_MIN, sigma_max=_SIGMA_MAX)
    generator = torch.Generator(device).manual_seed(0)
    observation = torch.randn(1, _OBSERVATION_SIZE, device=device, generator=generator)

    def noise_fn() -> torch.Tensor:
        return torch.randn(1, _NUM_STEPS, _ACTION_SIZE, device=device, generator=generator)

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        return teacher.denoise(x, x.new_full((1,), sigma), observation)

    def draw(sampler: str, sigmas: torch.Tensor) -> Callable[[], torch.Tensor]:
        return lambda: sample_diffusion(sampler, denoise, sigmas[0] * noise_fn(), sigmas, noise_fn)

    def jump(num_jumps: int) -> Callable[[], torch.Tensor]:
        return lambda: student.sample(noise_fn(), observation, _STUDENT_SIGMAS[: num_jumps - 1], noise_fn)

    edm = torch.cat([karras_sigmas(_NUM_LEVELS, _SIGMA_MIN, _SIGMA_MAX), torch.zeros(1)]).to(device)
    few = variance_preserving_sigmas(16).to(device)
    return {
        TEACHER: draw("heun", edm),
        "EDM Euler, 80 levels": draw("euler", edm),
        "DDPM, 15 steps": draw("ddpm", few),
        "DDIM, 15 steps": draw("ddim", few),
        "DPM-Solver++, 15 steps": draw("dpm_solver_pp", few),
        STUDENT: jump(1),
        **{f"student, {num_jumps} jumps": jump(num_jumps) for num_jumps in (2, 3, 4)},
    }


def _make_diffuser(
    level_sizes: tuple[int, ...], device: torch.device, calls: _Calls
) -> Callable[[], torch.Tensor]:
    """Returns Diffuser with drawn weights, from a state to a plan of states and actions."""
    size = _OBSERVATION_SIZE + _ACTION_SIZE
    network = PlanUNet(size, 1, level_sizes=level_sizes).to(device).eval().requires_grad_(False)
    network.register_forward_hook(lambda *_: setattr(calls, "count", calls.count + 1))
    guide = PlanReturn(size, level_sizes=level_sizes).to(device).eval().requires_grad_(False)
    generator = torch.Generator(device).manual_seed(0)
    sigmas = variance_preserving_sigmas(_DIFFUSER_STEPS + 1).to(device)
    sample = diffusion_sampler(
        PlanDenoiser(network), _DIFFUSER_HORIZON, "ddpm", sigmas, generator, guide, _GUIDANCE_SCALE
    )
    ends = torch.randn(1, 2 * size, device=device, generator=generator)
    return lambda: sample(ends)


def _time(sampler: Callable[[], torch.Tensor], device: torch.device, min_sec: float) -> float:
    """Returns seconds of a call: those of the clock on a graphics processor, cpu-seconds without one."""
    is_cuda = device.type == "cuda"
    clock = time.perf_counter if is_cuda else time.process_time
    if is_cuda:
        torch.cuda.synchronize()
    start, num_calls = clock(), 0
    while num_calls == 0 or clock() - start < min_sec:
        sampler()
        num_calls += 1
        if is_cuda:
            torch.cuda.synchronize()
    return (clock() - start) / num_calls


def _run(scale: str, folder: Path, note_fn: Callable[[str], None]) -> list[Row]:
    check_choice("scale", scale, SCALES)
    specs = {"timing": dataclasses.asdict(_SCALES[scale])}

    def run_job(spec: Any, job_folder: Path) -> None:
        save_result(
            job_folder,
            spec,
            time_samplers(
                tuple(spec["level_sizes"]),
                tuple(spec["diffuser_level_sizes"]),
                spec["num_repeats"],
                spec["min_sec"],
            ),
        )

    return run_jobs(run_job, specs, folder, note_fn)


def write_table(rows: Rows) -> str:
    """Writes evaluations, time and speed-up of each sampler, medians with quartiles."""
    sizes = ", ".join(map(str, rows[0]["level_sizes"]))
    lines = [
        f"One state, sequences of {_NUM_STEPS} actions, levels of {sizes} channels, {rows[0]['device']}.",
        "",
        "| sampler | evaluations of the network | one action, ms | faster than the teacher by |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        taken, speed_up = (np.quantile(row[key], [0.5, 0.25, 0.75]) for key in ("action_sec", "speed_up"))
        lines.append(
            f"| {row['sampler']} | {row['num_evaluations']} | {1e3 * taken[0]:.3g} ({1e3 * taken[1]:.3g} to "
            f"{1e3 * taken[2]:.3g}) | {speed_up[0]:.3g} ({speed_up[1]:.3g} to {speed_up[2]:.3g}) |"
        )
    return "\n".join(lines)


def draw_results(rows: Rows, folder: Path) -> list[Path]:
    """Draws the time of an action by each sampler.

    Returns:
      `sampler_timing.png`.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.8), layout="constrained")
        axis = figure.subplots()
        names = [row["sampler"] for row in rows]
        msec = [1e3 * float(np.median(row["action_sec"])) for row in rows]
        colors = ["#0f8a5f" if name.startswith("student") else "#8a8f98" for name in names]
        axis.barh(names[::-1], msec[::-1], color=colors[::-1])
        axis.set_xscale("log")
        axis.set_xlabel("one action (milliseconds)")
        axis.set_title("What an action costs by each sampler")
        figure.savefig(folder / "sampler_timing.png")
    return [folder / "sampler_timing.png"]


SAMPLER_TIMING = Experiment(
    title="Samplers of one network",
    run=_run,
    table=write_table,
    draw=draw_results,
)
