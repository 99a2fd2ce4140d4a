"""Folders of arena runs that are damaged or made by hand, read, scored, compared and resumed."""

from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path

from tests.hostile.attacks import (
    HOSTILE_TEXT,
    Attack,
    Ground,
    Watched,
    damaged_json,
    deep_json,
    digest,
    flipped,
    left_over,
    rng,
)

NAMES = ("majority", "random")
MARKUP = "<script>alert(1)</script>"


def attacks(ground: Ground) -> list[Attack]:
    """The attacks of this part."""
    from tests.arena.conftest import OpenAIServer
    from tests.arena.toy import make_fresh_graph

    graph = make_fresh_graph().save(ground.folder / "graph")
    runs = ground.folder / "runs"
    with OpenAIServer(verdict) as judge:
        for name in NAMES:
            judged = ["-j", "critic", "--judge-base-url", judge.url] if name == NAMES[0] else []
            ground.must_work([*resume(runs, graph, name), *judged], ground.folder)
    for words in commands(runs, graph, ground.folder):
        ground.must_work(words, ground.folder)
    files = sorted(
        p.relative_to(runs).as_posix() for p in runs.rglob("*") if p.is_file() and p.stat().st_size
    )
    return [
        Attack("run folder: random bits", partial(_bits, ground, runs, graph, files), share=0.1),
        Attack("run folder: JSON made by hand", partial(_by_hand, ground, runs, graph, files), share=0.1),
        Attack(
            "run folder: names that lead out, and markup",
            partial(_names, ground, runs, graph),
            len(FIELDS) * len(TEXTS),
        ),
    ]


def verdict(prompt: str) -> str:
    """A judge's reply that can be used: it rates all dimensions and quotes the first piece of evidence."""
    named = re.findall(r"^(\w+): .*\n  0 = ", prompt, re.MULTILINE)
    cited = re.search(r"^\[(E\d+)\] (\w+)", prompt, re.MULTILINE)
    evidence = [{"id": cited[1], "quote": cited[2], "stance": "supports"}] if cited else []
    ratings = {name: {"rating": 3, "reason": "r"} for name in named}
    return json.dumps({"dimensions": ratings, "evidence": evidence, "rationale": "r"})


def resume(runs: Path, graph: Path, name: str) -> list[str | Path]:
    """The command that makes a run, or goes on with it."""
    return ["arena", "run", "-m", name, "-t", "annotation,qa", "-n", "3", "-o", runs, "-g", graph]


def commands(runs: Path, graph: Path, folder: Path) -> list[list[str | Path]]:
    """What reads runs, and what writes into them."""
    one, other = sorted(p for p in runs.iterdir() if p.is_dir())[:2]
    return [
        ["arena", "report", runs, "-o", folder / "report"],
        ["arena", "compare", one, other],
        ["arena", "score", one, "-g", graph],
        resume(runs, graph, NAMES[0]),
    ]


def _judged(ground: Ground, runs: Path, graph: Path, folder: Path, number: int) -> str | None:
    """Run one of the commands on a copy of the runs, beside which lies what it must not touch."""
    (folder / "beside").mkdir()
    (folder / "beside" / "file.json").write_text("{}")
    before = {p.name for p in runs.iterdir()}
    watched = Watched(folder / "beside", graph)
    words = commands(runs, graph, folder)[number]
    ended = ground.run(words, folder)
    said = ended.wrong or watched.harmed() or left_over(folder, ["beside", "runs", "report"])
    said = said or (left_over(runs, before) if number < 3 else None)
    if not said and ended.code == 2 and (folder / "report").exists():
        said = "exit 2, and a report is there"
    for page in (folder / "report").glob("*.html") if (folder / "report").is_dir() else ():
        if MARKUP in page.read_text(encoding="utf-8", errors="replace"):
            said = said or "a text became markup"
    return said and f"{' '.join(map(str, words[:2]))}: {said}"


def _bits(ground: Ground, sound: Path, graph: Path, files: list[str], seed: int, folder: Path) -> str | None:
    """A few bits of any file, the engine's logs among them."""
    chance = rng("runs", seed)
    runs = Path(shutil.copytree(sound, folder / "runs"))
    path = runs / chance.choice(files)
    path.write_bytes(flipped(path.read_bytes(), chance, bits=chance.choice([1, 2, 8, 64])))
    said = _judged(ground, runs, graph, folder, seed % 4)
    return said and f"{path.name}: {said}"


def _by_hand(
    ground: Ground, sound: Path, graph: Path, files: list[str], seed: int, folder: Path
) -> str | None:
    """One value, line or file of JSON is another."""
    chance = rng("by hand", seed)
    runs = Path(shutil.copytree(sound, folder / "runs"))
    path = runs / chance.choice([name for name in files if name.endswith((".json", ".jsonl"))])
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    number = chance.randrange(len(lines))
    kind = chance.randrange(10)
    if kind == 0:
        lines[number] = chance.choice(
            [deep_json(), "[]", "5", "null", "{", '{"score": NaN}', "9" * 5_000, ""]
        )
    elif kind == 1:
        lines += lines
    elif kind == 2:
        lines = lines[:number]
    else:
        lines[number] = json.dumps(damaged_json(json.loads(lines[number]), chance))
    path.write_text("\n".join(lines) + "\n")
    said = _judged(ground, runs, graph, folder, seed % 4)
    return said and f"{path.name}: {said}"


#: File, and the field of its records that becomes a name or a text elsewhere.
FIELDS = [("manifest.json", "name"), ("manifest.json", "dataset"), ("manifest.json", "created"),
    ("manifest.json", "command"),
          ("answers.jsonl", "contestant"), ("answers.jsonl", "text"), ("answers.jsonl", "error"),
              ("answers.jsonl", "prompt"),
          ("scores.jsonl", "scorer"), ("scores.jsonl", "explanation"), ("scores.jsonl", "dimension"),
          ("samples.jsonl", "cluster"), ("samples.jsonl", "id")]  # fmt: skip
TEXTS = [MARKUP, "../../beside/file", "/etc/passwd", HOSTILE_TEXT, "x" * 5_000, "\ud800"]


def _names(ground: Ground, sound: Path, graph: Path, seed: int, folder: Path) -> str | None:
    """A name or a text of a record is a path, markup, or no text at all."""
    (file, field), text = FIELDS[seed // len(TEXTS)], TEXTS[seed % len(TEXTS)]
    runs = Path(shutil.copytree(sound, folder / "runs"))
    run = sorted(p for p in runs.iterdir() if p.is_dir())[0]
    path = run / file
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    path.write_text("\n".join(json.dumps(json.loads(line) | {field: text}) for line in lines) + "\n")
    before = digest(graph)
    said = _judged(ground, runs, graph, folder, seed % 3)
    assert digest(graph) == before or said
    return said and f"{file}, {field} = {text[:20]!r}: {said}"
