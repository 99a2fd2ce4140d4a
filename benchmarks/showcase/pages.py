"""The pages that bind a showcase together: the index, the serving report, and the table of what each step took.

Everything printed was read from what the commands left: their JSON, the leaderboard's, the server's counters.
"""

from __future__ import annotations

import base64
import json
import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from arena.leaderboard.labels import KIND_NAMES, hundred, rank_text, span
from arena.leaderboard.schema import Group, Leaderboard
from arena.report import view
from arena.report.figures import bar
from arena.report.view import GroupView
from benchmarks.showcase.steps import Row
from vckg.base import html as pages
from vckg.base.atomic import write_text

TEMPLATES = Path(__file__).parent / "templates"
LEADERBOARD = Path(view.__file__).parent / "templates"
_PREFIX = "vckg_serve_"
HISTOGRAMS = {
    "ttft_seconds": "From arrival to the first token",
    "tpot_seconds": "Per token after the first",
    "e2e_seconds": "From arrival to the last token",
}
FIGURES = {
    "timelines": "When tokens reached each reader at the highest load, and the pace of a reader",
    "idle": "How long readers waited beyond their own pace, as a distribution for each load",
    "goodput": "Throughput, goodput and smooth goodput against load",
}


class Annotated(NamedTuple):
    """One file, named with or without the model."""

    page: str
    sets: int
    named: int
    backed_off: int
    mixed: int
    unknown: int
    labels: dict[str, str]
    """Label by cell set."""
    decided: dict[str, int]
    """Cell sets by who decided: retrieval, the model, or retrieval where the model's reply was of no use."""


class File(NamedTuple):
    """One h5ad of the showcase."""

    name: str
    cells: int
    plain: Annotated
    asked: Annotated

    @property
    def moved(self) -> int:
        """Cell sets that the model labels otherwise."""
        return sum(self.asked.labels[k] != label for k, label in self.plain.labels.items())


class Bucket(NamedTuple):
    """Observations up to a bound."""

    upto: str
    observed: int
    share: float
    """Of the fullest bucket."""


def write_pages(
    folder: Path, profile: str, names: Sequence[str], rows: Sequence[Row], *, mouse: str = ""
) -> Path:
    """Write ``index.html``, ``serving.html``, ``steps.json`` and ``steps.md``; return the index."""
    counters = add_up(sorted((folder / "serving").glob("counters-*.json")))
    load = json.loads((folder / "serving" / "load.json").read_text(encoding="utf-8"))
    leaderboard = Leaderboard.model_validate_json((folder / "leaderboard" / "leaderboard.json").read_bytes())
    graph = json.loads((folder / "graph.json").read_text(encoding="utf-8"))
    # Runs with an earlier graph may lie in the folder too; they have a ranking of their own.
    of_this_graph = [g for g in leaderboard.groups if g.graph_hash == graph["content_hash"]]
    group = max(of_this_graph, key=lambda g: len(g.rows))
    facts = {"machine": machine(), "vckg": version("vckg"), "steps": [asdict(row) for row in rows]}
    write_text(folder / "steps.json", json.dumps(facts, indent=1) + "\n")
    write_text(folder / "steps.md", f"{machine()}\n\n{markdown(rows)}\n")
    write_text(folder / "serving.html", serving(folder, counters, load))
    index = folder / "index.html"
    write_text(
        index,
        pages.render(
            TEMPLATES / "showcase.html.j2",
            title="Cells named, models measured, one run",
            styles=[LEADERBOARD / "leaderboard.css", TEMPLATES / "showcase.css"],
            folders=[LEADERBOARD],
            graph=graph,
            n_sources=sources_with_edges(graph["sources"]),
            profile=profile,
            files=[read_file(folder, name) for name in names],
            more=list(second_looks(folder, mouse)),
            group=group,
            view=GroupView(group),
            answers=sum(cell.answered for row in group.rows for cell in row.tasks.values()),
            n_judges=len(group.judges),
            rated=rated(group),
            unscored=unscored(group),
            kind_names=KIND_NAMES,
            bar=bar,
            hundred=hundred,
            span=span,
            rank_text=rank_text,
            serve=server_facts(counters),
            loads=load["loads"],
            rows=rows,
            machine=machine(),
            version=version("vckg"),
            clock=clock,
        ),
    )
    return index


def sources_with_edges(sources: Mapping[str, Mapping[str, Any]]) -> int:
    """Return how many sources of `vckg info --json` have edges, as the graph card counts them: parts in their whole."""
    return len({name.partition(":")[0] for name, entry in sources.items() if entry.get("edges")})


def serving(folder: Path, counters: dict[str, float], load: dict[str, Any]) -> str:
    """The HTML of the serving report."""
    figures = [
        (caption, "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode())
        for name, caption in FIGURES.items()
        if (path := folder / "serving" / f"{name}.svg").is_file()
    ]
    return pages.render(
        TEMPLATES / "serving.html.j2",
        title="What the server did",
        styles=[TEMPLATES / "showcase.css"],
        serve=server_facts(counters),
        measures=[name for name in load["loads"][0] if name != "requests a second"],
        loads=load["loads"],
        choices=load["choices"],
        histograms=[(caption, histogram(counters, name)) for name, caption in HISTOGRAMS.items()],
        endings=labelled(counters, "finished_total"),
        responses=labelled(counters, "responses_total"),
        figures=figures,
        machine=machine(),
        version=version("vckg"),
    )


# ---- what the commands left -----------------------------------------------------------------------------------


def read_file(folder: Path, name: str) -> File:
    """Return the results of both passes over one file."""
    both = [_annotated(folder, name), _annotated(folder, f"{name}.model")]
    annotations = json.loads((folder / "annotation" / f"{name}.json").read_text(encoding="utf-8"))
    return File(name, sum(a["n_cells"] for a in annotations), *both)


def _annotated(folder: Path, name: str) -> Annotated:
    annotations = json.loads((folder / "annotation" / f"{name}.json").read_text(encoding="utf-8"))
    status = Counter(a["status"] for a in annotations)
    return Annotated(
        f"annotation/{name}.html",
        len(annotations),
        status["named"],
        status["backed_off"],
        status["mixed"],
        sum(status[word] for word in ("unknown", "ungrounded")),
        {a["cell_set"]: a["label"] for a in annotations},
        dict(Counter(a["decided_by"] for a in annotations)),
    )


def second_looks(folder: Path, mouse: str) -> Iterator[tuple[str, str, str]]:
    """Yield page, title and result of the mouse, the marker table and the check of labels, where they were made."""
    for name, title in (
        (mouse, "Cells of a mouse, clustered here"),
        ("markers", "A table of markers, no cells"),
    ):
        if name and (folder / "annotation" / f"{name}.json").is_file():
            found = _annotated(folder, name)
            yield found.page, title, f"{found.named} of {found.sets} sets named"
    if (path := folder / "annotation" / "check.json").is_file():
        checked = json.loads(path.read_text(encoding="utf-8"))
        total = sum(len(one["labels"]) for one in checked["sets"])
        result = f"{len(checked['queue'])} of {total} labels to review"
        yield "annotation/check.html", "An author's labels, checked", result


def rated(group: Group) -> str:
    """How many answers each judge rated, as half a sentence."""
    counts: Counter[str] = Counter()
    for row in group.rows:
        for task in row.tasks.values():
            counts.update({judge: cell.total.n for judge, cell in task.judges.items()})
    return " and ".join(f"{counts[judge]} rated by {judge}" for judge in group.judges)


def unscored(group: Group) -> str:
    """How many answers a judge's reply could not be read for, as half a sentence; empty where none."""
    cells = [
        (judge, cell) for row in group.rows for t in row.tasks.values() for judge, cell in t.judges.items()
    ]
    missing = sum(cell.unscored for _, cell in cells)
    return (
        f" ({missing} of its replies could not be read; those answers are unscored by it)" if missing else ""
    )


def add_up(paths: Sequence[Path]) -> dict[str, float]:
    """Counters of several lives of the server, added."""
    total: Counter[str] = Counter()
    for path in paths:
        total.update(json.loads(path.read_text(encoding="utf-8")))
    return dict(total)


def server_facts(counters: dict[str, float]) -> dict[str, float]:
    """The key figures of the server's life: counts, and three ratios."""

    def count(name: str) -> float:
        return counters.get(_PREFIX + name, 0.0)

    passes = count("decode_forwards_total")
    return {
        "requests": sum(labelled(counters, "finished_total").values()),
        "prompt_tokens": count("prompt_tokens_total"),
        "output_tokens": count("output_tokens_total"),
        "steps": count("steps_total"),
        "preemptions": count("preemptions_total"),
        "cached": count("cached_tokens_total") / max(count("prompt_tokens_total"), 1),
        "accepted": count("accepted_tokens_total") / max(count("drafted_tokens_total"), 1),
        "tokens_per_pass": 1 + count("accepted_tokens_total") / passes if passes else 0.0,
    }


def labelled(counters: dict[str, float], name: str) -> dict[str, int]:
    """Counts of one counter by its labels' values, most first."""
    found = {
        ", ".join(part.split('"')[1] for part in key.partition("{")[2].split(",") if '"' in part): int(value)
        for key, value in counters.items()
        if key.startswith(f"{_PREFIX}{name}{{")
    }
    return dict(sorted(found.items(), key=lambda kv: (-kv[1], kv[0])))


def histogram(counters: dict[str, float], name: str) -> list[Bucket]:
    """Buckets of a histogram, no longer cumulated."""
    bounds = labelled(counters, f"{name}_bucket")
    ordered = sorted(bounds.items(), key=lambda kv: float(kv[0]))
    counts = [n - before for (_, n), before in zip(ordered, [0, *(n for _, n in ordered)], strict=False)]
    most = max(counts, default=0) or 1
    return [Bucket(upto, n, n / most) for (upto, _), n in zip(ordered, counts, strict=True)]


# ---- what it took ---------------------------------------------------------------------------------------------


def machine() -> str:
    """The machine in a line."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}"
    )


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def markdown(rows: Sequence[Row]) -> str:
    """What each step took, as a Markdown table."""
    return "\n".join(_markdown(rows))


def _markdown(rows: Sequence[Row]) -> Iterator[str]:
    yield from ("| step | seconds | peak GB |", "|---|---|---|")
    for row in rows:
        yield f"| {row.says} | {row.seconds:.1f} | {row.peak_bytes / 1e9:.2f} |"
    yield f"| all | {sum(r.seconds for r in rows):.0f} | {max(r.peak_bytes for r in rows) / 1e9:.2f} |"
