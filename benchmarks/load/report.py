"""Report of load generator runs: a table over loads, sensitivity to alpha and f, and three figures."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load.relatives import (
    SaturatingPenalty,
    StepPenalty,
    TpotSlo,
    andes_qoe,
    distserve_goodput,
    fluid_token_rate,
    fluidity_index,
    goodput,
)
from serve.goodput import (
    Ending,
    LinearPenalty,
    Penalty,
    ReadingSlo,
    SmoothGoodput,
    Timeline,
    attainment,
    idle_latency,
    throughput,
)

ALPHAS = (1.0, 2.5, 5.0)


@dataclass(frozen=True, slots=True)
class Run:
    """One load: requests a second, the window in which they were committed, and their timelines."""

    rate: float
    window_s: float
    timelines: tuple[Timeline, ...]


@dataclass(frozen=True, slots=True)
class Choices:
    """Free parameters of the measures, printed with every result.

    `pace` is V of Eq. 5 in seconds a token, `allowance` its A; `ttft` and `tpot` are the limits of the other
    measures.
    """

    pace: float = 0.2
    allowance: float = 1.0
    ttft: float = 2.0
    tpot: float = 0.2

    @property
    def slo(self) -> ReadingSlo:
        """The reader's SLO."""
        return ReadingSlo(self.pace, self.allowance)

    @property
    def penalties(self) -> dict[str, Penalty]:
        """The forms of f that are compared."""
        return {
            "linear": LinearPenalty(self.pace),
            "linear after 1 s": LinearPenalty(self.pace, grace=1.0),
            "saturating": SaturatingPenalty(),
            "step (Eq. 7)": StepPenalty(),
        }


def percentile(values: Sequence[float], q: float) -> float:
    """A percentile; NaN of nothing."""
    return float(np.percentile(values, q)) if len(values) else float("nan")


def summary(run: Run, choices: Choices) -> dict[str, Any]:
    """Every measure of one run."""
    timelines, slo = run.timelines, choices.slo
    answered = [t for t in timelines if t.n]
    idle = [idle_latency(t, slo) for t in timelines]
    gaps = np.concatenate([np.diff(t.times) for t in answered]) if answered else np.empty(0)
    tpot = TpotSlo(choices.ttft, choices.tpot)
    return {
        "requests a second": run.rate,
        "requests": len(timelines),
        "unserved": sum(t.ending is not Ending.FINISHED for t in timelines),
        "tokens a second": throughput(timelines, run.window_s),
        "smooth goodput": SmoothGoodput(slo, LinearPenalty(choices.pace))(timelines, run.window_s),
        "goodput (Eq. 7)": goodput(timelines, slo, run.window_s),
        "attainment": attainment(timelines, slo),
        "idle P50 s": percentile(idle, 50),
        "idle P99 s": percentile(idle, 99),
        "TTFT P50 s": percentile([t.times[0] for t in answered], 50),
        "TTFT P99 s": percentile([t.times[0] for t in answered], 99),
        "TPOT P50 ms": percentile(
            [1e3 * (t.times[-1] - t.times[0]) / (t.n - 1) for t in answered if t.n > 1], 50
        ),
        "ITL P99 ms": 1e3 * percentile(list(gaps), 99),
        "E2E P50 s": percentile([t.times[-1] for t in answered], 50),
        "TTFT+TPOT attainment": attainment(timelines, tpot),
        "Andes QoE": float(
            np.mean([andes_qoe(t, ttft=choices.ttft, speed=1 / choices.pace) for t in timelines])
        ),
        "Etalon fluidity": float(
            np.mean([fluidity_index(t, prefill=choices.ttft, decode=choices.tpot) for t in timelines])
        ),
    }


def sensitivity(runs: Sequence[Run], choices: Choices) -> list[dict[str, Any]]:
    """Smooth goodput of every load for every alpha and f."""
    return [
        {"f": name, "alpha": alpha}
        | {
            f"{run.rate:g}/s": SmoothGoodput(choices.slo, penalty, alpha)(run.timelines, run.window_s)
            for run in runs
        }
        for name, penalty in choices.penalties.items()
        for alpha in (ALPHAS if name.startswith("linear") else (2.5,))
    ]


def over_loads(runs: Sequence[Run], choices: Choices) -> dict[str, float]:
    """The measures that need several loads."""
    slo = TpotSlo(choices.ttft, choices.tpot)
    return {
        "DistServe goodput (requests a second with 90 % in TTFT and TPOT)": distserve_goodput(
            [r.rate for r in runs], lambda k: runs[k].timelines, slo
        ),
        "Etalon fluid token rate at the lowest load (tokens a second)": fluid_token_rate(
            runs[0].timelines, prefill=choices.ttft
        ),
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for row in rows:
        cells = (f"{x:.2f}" if isinstance(x, float) else str(x) for x in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(runs: Sequence[Run], choices: Choices) -> str:
    """The whole report as Markdown, without figures."""
    ordered = sorted(runs, key=lambda r: r.rate)
    parts = [
        f"Reader: V = {choices.pace:g} s a token, allowance A = {choices.allowance:g} s, committed at arrival; "
        f"alpha = 2.5 and linear f unless stated; TTFT {choices.ttft:g} s and TPOT {choices.tpot:g} s for the others. "
        f"Window {ordered[0].window_s:g} s, fixed before the run; unserved requests count by the censored rule.",
        markdown([summary(r, choices) for r in ordered]),
        "Smooth goodput (tokens a second) by alpha and f:",
        markdown(sensitivity(ordered, choices)),
        "\n".join(f"- {name}: {value:.2f}" for name, value in over_loads(ordered, choices).items()),
    ]
    return "\n\n".join(parts) + "\n"


def report_json(runs: Sequence[Run], choices: Choices) -> str:
    """The measures of every load as JSON; a missing value is null."""
    rows = [summary(r, choices) for r in sorted(runs, key=lambda r: r.rate)]
    plain = [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in rows
    ]
    return json.dumps({"choices": asdict(choices), "loads": plain}, indent=1)


def figures(runs: Sequence[Run], choices: Choices, folder: Path) -> list[Path]:
    """Write the three figures as SVG: token timelines, distribution of idle latency, goodput against load."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted(runs, key=lambda r: r.rate)
    paths = []

    def canvas(title: str, x: str, y: str) -> tuple[Any, Any]:
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.add_subplot()
        axes.set(title=title, xlabel=x, ylabel=y)
        return figure, axes

    def save(figure: Any, name: str) -> None:
        path = folder / f"{name}.svg"
        # A fixed salt and no date: the same runs give the same bytes.
        with mpl.rc_context({"svg.hashsalt": name}):
            figure.savefig(path, metadata={"Date": None})
        paths.append(path)

    busiest = ordered[-1]
    figure, axes = canvas(
        f"Token timelines at {busiest.rate:g} requests a second",
        "seconds after commitment",
        "tokens received",
    )
    for timeline in busiest.timelines[:40]:
        axes.step(timeline.times, range(1, timeline.n + 1), where="post", linewidth=0.8, alpha=0.7)
    longest = max((t.n for t in busiest.timelines[:40]), default=1)
    due = choices.slo.deadlines(np.zeros(longest))
    axes.plot(due, range(1, longest + 1), "k--", linewidth=1, label=f"reader, V = {choices.pace:g} s")
    axes.legend()
    save(figure, "timelines")
    figure, axes = canvas("Idle latency", "seconds", "share of requests")
    for run in ordered:
        idle = np.sort([idle_latency(t, choices.slo) for t in run.timelines])
        axes.step(idle, np.arange(1, len(idle) + 1) / len(idle), where="post", label=f"{run.rate:g}/s")
    axes.legend(title="load")
    save(figure, "idle")
    figure, axes = canvas("Goodput against load", "requests a second", "tokens a second")
    loads = [r.rate for r in ordered]
    axes.plot(loads, [throughput(r.timelines, r.window_s) for r in ordered], "k:", label="throughput")
    axes.plot(
        loads, [goodput(r.timelines, choices.slo, r.window_s) for r in ordered], "o-", label="goodput (Eq. 7)"
    )
    for alpha in ALPHAS:
        smooth = SmoothGoodput(choices.slo, LinearPenalty(choices.pace), alpha)
        axes.plot(
            loads, [smooth(r.timelines, r.window_s) for r in ordered], "s-", label=f"smooth, alpha {alpha:g}"
        )
    top = max(throughput(r.timelines, r.window_s) for r in ordered)
    axes.set_ylim(-top, 1.1 * top)  # an overloaded server's smooth goodput falls without end
    axes.legend()
    save(figure, "goodput")
    return paths
