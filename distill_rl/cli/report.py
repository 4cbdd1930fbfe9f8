"""`report.html`: one file with the figures, the summary and the configuration of a run in it."""

import base64
import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_rl.cli.duration import format_duration
from distill_rl.cli.plots import draw_plots
from distill_rl.storage import atomic
from distill_rl.storage.metrics import read_metrics
from distill_rl.storage.run_folder import RunFolder

_TITLES = {
    "student_return": "Student, one step",
    "search_return": "Search",
    "untrained_return": "Untrained",
    "env_steps": "Environment steps",
    "simulator_steps": "Simulator steps",
    "updates": "Learner updates",
    "wall_seconds": "Wall clock",
}
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #22262d; background: #f5f6f8; margin: 0; }}
main {{ max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }}
h1 {{ font-size: 24px; margin: 0; }}
h2 {{ font-size: 17px; margin: 32px 0 10px; }}
.note {{ color: #5b626d; margin: 2px 0 18px; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 10px; }}
.tile, figure, table, pre {{ background: white; border: 1px solid #e3e6eb; border-radius: 8px; }}
.tile {{ padding: 10px 14px; }}
.tile b {{ display: block; font-size: 21px; font-variant-numeric: tabular-nums; }}
.tile span {{ color: #5b626d; font-size: 13px; }}
.plots {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(480px, 100%), 1fr)); gap: 14px; }}
figure {{ margin: 0; padding: 8px; }}
img {{ width: 100%; display: block; }}
table {{ border-spacing: 0; padding: 6px 14px; }}
td {{ padding: 3px 18px 3px 0; }}
td:last-child {{ text-align: right; font-variant-numeric: tabular-nums; padding-right: 0; }}
pre {{ padding: 12px 16px; overflow-x: auto; font-size: 13px; }}
</style>
<main>
<h1>{title}</h1>
<p class="note">{note}</p>
<div class="tiles">{tiles}</div>
<h2>Training</h2>
<div class="plots">{plots}</div>
<h2>Summary</h2>
<table>{table}</table>
<h2>Configuration</h2>
<pre>{config}</pre>
</main>
</html>
"""


def write_report(run: RunFolder) -> list[Path]:
    """Draws a run's figures and writes its report. A run that is still going on has one too.

    Args:
      run: the run folder.

    Returns:
      Paths of the report and of the figures.

    Raises:
      ValueError: if the folder holds no run.
    """
    run.require_run()
    rows = read_metrics(run.metrics_path)
    summary = run.read_summary()
    plots = draw_plots(rows, summary, run.plots_folder)
    config = run.config_path.read_text(encoding="utf-8")
    atomic.write_text(run.report_path, render_report(run.path.name, rows, summary, plots, config))
    return [run.report_path, *plots]


def render_report(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    plots: Sequence[Path],
    config: str,
) -> str:
    """Renders the page, with the figures embedded.

    Args:
      title: name of the run.
      rows: rows of metrics; the last one stands in for a summary that is not there yet.
      summary: of the run; may be empty.
      plots: PNG files.
      config: the resolved configuration, YAML.

    Returns:
      HTML that refers to nothing outside itself.
    """
    last = rows[-1] if rows else {}
    shown = dict(summary) or {name: last[name] for name in _TITLES if name in last}
    if not summary and "elapsed_sec" in last:
        shown["wall_seconds"] = last["elapsed_sec"]
    note = "finished" if summary else "no summary yet: the newest metrics of a run that has not ended"
    tiles = [(_TITLES[name], _show(name, shown[name])) for name in _TITLES if name in shown]
    return _PAGE.format(
        title=html.escape(title),
        note=f"{note}; {len(rows)} iterations",
        tiles="".join(f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for name, value in tiles),
        plots="".join(_figure(path) for path in plots) or "<p>No metrics yet.</p>",
        table="".join(f"<tr><td>{html.escape(n)}</td><td>{_show(n, v)}</td></tr>" for n, v in shown.items()),
        config=html.escape(config),
    )


def _figure(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<figure><img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}"></figure>'


def _show(name: str, value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        value = None
    if value is None:
        return "&ndash;"
    if name == "wall_seconds":
        return format_duration(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:.4g}"
    return html.escape(str(value))
