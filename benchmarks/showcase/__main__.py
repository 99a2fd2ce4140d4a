"""``make showcase``: the whole story in one run, under one page.

Builds the graph and serves the embedded model (DART drafts, Echo schedules). Names the cells of the PBMC files with
and without the model, those of a mouse, and the groups of a marker table; checks an author's labels. Puts the five
tasks to eight contestants, has every answer rated by two judges, measures the server under an interactive load, and
writes the pages. Each step is one of the four commands, run as a user runs it; a step that was finished with the same
inputs is not run again, so a killed run resumes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.showcase.pages import markdown, write_pages
from benchmarks.showcase.steps import SERVER, Server, Step, Story
from vckg.base.console import err, out, run
from vckg.base.errors import InputError

FOLDER = Path("showcase")
MODEL = "SmolLM2-135M-Instruct"
#: Each file with the column that names its cell sets.
PBMC = {
    "pbmc68k_reduced": "louvain",
    "pbmc3k_clustifyr_2000hvg": "seurat_clusters",
    "pbmc_kang18_ifnb_muscat": "cluster_id",
}
MOUSE = "mouse_cortex_zeisel2015_scenic"
#: The file with a ranking by scanpy and with an author's labels, in this column.
LABELLED, LABELS = "pbmc68k_reduced", "bulk_labels"
#: Writes scanpy's ranking as the table that people send.
MARKER_TABLE = (
    "import sys, anndata, scanpy; "
    "scanpy.get.rank_genes_groups_df(anndata.read_h5ad(sys.argv[1]), None).to_csv(sys.argv[2], index=False)"
)
CONTESTANTS = (
    "majority",
    "random",
    "gene-prior",
    "marker-overlap",
    "gather",
    MODEL,
    f"gather+{MODEL}",
    "gold",
)
LIMIT = 2
JUDGED = 1
ANSWER_TOKENS = 160
JUDGE_TOKENS = 700
"""A whole verdict of a small model takes 150 to 300."""
CONNECTIONS = 8
#: Interactive requests a second, each for `LOAD_S` seconds.
RATES = (0.25, 0.5, 1.0)
LOAD_S = 30


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of the showcase is about.

    Attributes
    ----------
    mirrors
        Folders of source files; none: the graph of what installs with pip, and scanpy's own cells.
    files
        Path and clustering column of each h5ad, by name.
    mouse
        Path of the mouse's h5ad; None without a mirror.
    limit
        Samples of each task put to each contestant.
    judged
        Those of them whose answers the model judges too; the judge without a model rates all.
    load_s
        Seconds of each interactive load.
    """

    mirrors: tuple[Path, ...]
    files: dict[str, tuple[Path, str]]
    limit: int
    judged: int = JUDGED
    load_s: int = LOAD_S
    mouse: Path | None = None

    @property
    def profile(self) -> str:
        """The graph's profile: the default one, or what pip alone gives."""
        return "standard" if self.mirrors else "core"

    @property
    def contestants(self) -> tuple[str, ...]:
        """Contestants of the arena; without a mirror nothing is perturbed, and gene-prior has nothing to answer."""
        return tuple(name for name in CONTESTANTS if self.mirrors or name != "gene-prior")


def make_plan(limit: int, judged: int = JUDGED, load_s: int = LOAD_S) -> Plan:
    """The plan for this machine: the standard graph and four files with a mirror, which is VCKG_MIRROR or
    ``../shared/data``.

    Raises
    ------
    InputError
        A mirror is named that has none of the files.
    """
    from gather.demo import example_file
    from vckg.build.fetch import default_mirrors

    beside = Path("..", "shared", "data")
    mirrors = tuple(p.resolve() for p in default_mirrors() or ((beside,) if beside.is_dir() else ()))
    if not mirrors:
        name = next(iter(PBMC))
        return Plan((), {name: (example_file(), PBMC[name])}, limit, judged, load_s)
    files = {name: (_mirrored(mirrors, f"h5ad/{name}.h5ad"), column) for name, column in PBMC.items()}
    mouse = _mirrored(mirrors, f"h5ad_more/{MOUSE}.h5ad")
    return Plan(mirrors, files, limit, judged, load_s, mouse)


def _mirrored(mirrors: tuple[Path, ...], name: str) -> Path:
    for mirror in mirrors:
        if (path := mirror / name).is_file():
            return path
    raise InputError(f"{mirrors[0]}: no {name} there; name the folder of source files in VCKG_MIRROR")


def steps(plan: Plan) -> Iterator[Step]:
    """The story as commands, in order."""
    build = ["vckg", "build", "--profile", plan.profile, "-o", "graph", "--json"]
    for mirror in plan.mirrors:
        build += ["--mirror", str(mirror)]
    yield Step("graph", f"build the {plan.profile} graph", build, ["graph"], plan.mirrors, saves="graph.json")
    card = ["vckg", "card", "-g", "graph", "-o", "graph-card.html"]
    yield Step("card", "write the graph card", card, ["graph-card.html"], after=["graph"])
    for name, (path, column) in plan.files.items():
        yield _annotation(name, path, column, asks=False)
        yield _annotation(name, path, column, asks=True)
    if plan.mouse:
        yield _annotation(MOUSE, plan.mouse, "auto", asks=False)
    if LABELLED in plan.files:
        yield from _second_opinions(*plan.files[LABELLED])
    yield from _contest(plan)
    yield from _loads(plan)


def _second_opinions(path: Path, column: str) -> Iterator[Step]:
    """A table of markers named, and an author's labels checked."""
    table, named, page = (f"annotation/markers.{end}" for end in ("csv", "h5ad", "html"))
    write = ["python", "-c", MARKER_TABLE, str(path), table]
    yield Step("marker-table", "write scanpy's marker table", write, [table], [path])
    name = [
        "gather",
        "annotate",
        table,
        "-o",
        named,
        "--report",
        page,
        "--graph",
        "graph",
        "--force",
        "--json",
    ]
    yield Step(
        "annotate-markers",
        "name the groups of the marker table",
        name,
        [named, page],
        after=["graph", "marker-table"],
        saves="annotation/markers.json",
    )
    check = ["gather", "check", str(path), "--labels", LABELS, "--groupby", column, "--graph", "graph"]
    made = ["annotation/check.h5ad", "annotation/check.html"]
    check += ["-o", made[0], "--report", made[1], "--force", "--json"]
    yield Step(
        "check", "check the author's labels", check, made, [path], ["graph"], saves="annotation/check.json"
    )


def _annotation(name: str, path: Path, column: str, *, asks: bool) -> Step:
    end = f"{name}.model" if asks else name
    made = [f"annotation/{end}.h5ad", f"annotation/{end}.html"]
    command = ["gather", "annotate", str(path), "-o", made[0], "--report", made[1], "--groupby", column]
    command += ["--graph", "graph", "--force", "--json"]
    if asks:
        command += ["--model", MODEL, "--base-url", SERVER, "--timeout", "900", "--connections", "4"]
    says = f"name the cells of {name}{' with the model' if asks else ''}"
    return Step(
        f"annotate-{end}", says, command, made, [path], ["graph"], saves=f"annotation/{end}.json", asks=asks
    )


def _contest(plan: Plan) -> Iterator[Step]:
    runs = f"runs/limit-{plan.limit}"
    asked = []
    for contestant in plan.contestants:
        command = ["arena", "run", "--model", contestant, "--limit", str(plan.limit), "--graph", "graph"]
        command += ["--output", runs, "--max-tokens", str(ANSWER_TOKENS), "--connections", str(CONNECTIONS)]
        command += ["--timeout", "1800", "--base-url", SERVER, "--judge", MODEL, "--judge-base-url", SERVER]
        command += ["--judge-limit", str(plan.judged), "--judge-max-tokens", str(JUDGE_TOKENS)]
        step = Step(
            f"arena-{contestant}-{plan.limit}",
            f"put the tasks to {contestant}, and judge",
            [*command, "--json"],
            [runs],
            after=["graph"],
            saves=f"{runs}.{contestant}.json",
            asks=True,
        )
        asked.append(step.name)
        yield step
    report = ["arena", "report", runs, "--output", "leaderboard", "--json"]
    yield Step(
        "leaderboard", "count", report, ["leaderboard/index.html"], after=asked, saves="leaderboard.json"
    )


def _loads(plan: Plan) -> Iterator[Step]:
    from vckg.base.resources import resource

    prompts = resource("draft", "heldout.jsonl")
    names = []
    for rate in RATES:
        made = f"serving/load-{rate:g}.jsonl"
        command = [
            "python",
            "-m",
            "benchmarks.load",
            "load",
            str(prompts),
            "-o",
            made,
            "--base-url",
            SERVER,
            "--name",
            MODEL,
        ]
        command += ["--rate", f"{rate:g}", "--seconds", str(plan.load_s), "--max-tokens", "64"]
        says = f"interactive load, {rate:g} requests a second"
        step = Step(f"load-{rate:g}-{plan.load_s}", says, command, [made], [prompts], asks=True)
        names.append(step.name)
        yield step
    report = [
        "python",
        "-m",
        "benchmarks.load",
        "report",
        *(f"serving/load-{rate:g}.jsonl" for rate in RATES),
    ]
    yield Step(
        "load-report",
        "smooth goodput",
        [*report, "-o", "serving", "--json"],
        after=names,
        saves="serving/load.json",
    )


def showcase(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the pages and of all in between.")
    ] = FOLDER,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Samples per task.")] = LIMIT,
    judged: Annotated[int, typer.Option(min=1, help="Samples per task that the model judges too.")] = JUDGED,
    load: Annotated[int, typer.Option(min=1, help="Seconds of each interactive load.")] = LOAD_S,
) -> None:
    """Tell the whole story in one run; the same command goes on where a killed one was."""
    plan = make_plan(limit, judged, load)
    listed = list(steps(plan))
    if plan.mirrors:  # the arena draws its samples from there
        os.environ["VCKG_MIRROR"] = os.pathsep.join(map(str, plan.mirrors))
    with Story(output, Server(output / "serving", MODEL)) as story:
        for number, step in enumerate(listed, 1):
            story.take(step, f"[{number}/{len(listed)}]")
    rows = story.rows(listed)
    index = write_pages(output, plan.profile, list(plan.files), rows, mouse=MOUSE if plan.mouse else "")
    err().print(markdown(rows), markup=False, highlight=False)
    out().print(str(index.resolve()), markup=False, highlight=False)


def main() -> None:
    """Entry point of ``python -m benchmarks.showcase``."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(showcase)
    run(app, "benchmarks.showcase")


if __name__ == "__main__":
    main()
