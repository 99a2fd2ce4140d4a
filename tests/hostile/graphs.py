"""Graph folders with turned bits, and folders made by hand whose every hash is right."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.hostile.attacks import (
    HOSTILE_TEXT,
    Attack,
    Ground,
    Watched,
    damaged_json,
    deep_json,
    flipped,
    left_over,
    rng,
)
from tests.vckg.toy import toy

#: What reads a graph; `{out}` is a place to write.
COMMANDS: list[list[str]] = [
    ["vckg", "info"],
    ["vckg", "show", "T cell"],
    ["vckg", "path", "CD3D", "B cell"],
    ["vckg", "export", "--format", "graphml", "-o", "{out}"],
    ["vckg", "card", "-o", "{out}.html"],
    ["gather", "explain", "CD3D", "CD3E", "MS4A1"],
]
AUDIT = ["vckg", "audit"]


def attacks(ground: Ground) -> list[Attack]:
    """The attacks of this part."""
    sound = toy().save(ground.folder / "sound")
    said = {}
    for number, words in enumerate(COMMANDS):
        at = ground.folder / f"sound-{number}"
        at.mkdir()
        graph = Path(shutil.copytree(sound, at / "graph"))
        said[number] = ground.must_work(_named(words, graph, at), at).out.replace(str(at), "FOLDER")
        if (graph / "operators").is_dir() and not (
            sound / "operators"
        ).exists():  # kept to save time: attacked too
            shutil.copytree(graph / "operators", sound / "operators")
    files = sorted(p.relative_to(sound).as_posix() for p in sound.rglob("*") if p.is_file())
    own = [
        name for name in files if not name.startswith("operators/")
    ]  # what only saves time may be made again
    return [
        Attack("graph: one turned bit", partial(_turned, ground, sound, files, said), share=0.384),
        Attack("graph: one turned bit, audited", partial(_audited, ground, sound, own), share=0.1),
        Attack(
            "graph: a file is missing, cut or longer", partial(_cut, ground, sound, own), 3 * len(own), 0.3
        ),
        Attack(
            "graph: manifest made by hand", partial(_by_hand, ground, sound), len(MANIFESTS) * len(COMMANDS)
        ),
        Attack("graph: random manifests", partial(_random_manifest, ground, sound), share=0.3),
        Attack("graph: arrays made by hand", partial(_arrays, ground, sound), len(ARRAYS) * len(COMMANDS)),
    ]


def _named(words: list[str], graph: Path, folder: Path) -> list[str]:
    """The command on this graph, writing below this folder."""
    named = [word.replace("{out}", str(folder / "out")) for word in words]
    return [*named, str(graph)] if words == AUDIT else [*named, "-g", str(graph)]


def _judged(
    ground: Ground, words: list[str], graph: Path, folder: Path, *, codes: tuple[int, ...] = (0, 2)
) -> tuple[str | None, str]:
    """What fell, and what the command printed where it succeeded."""
    watched = Watched(*(path for path in (graph / "graph", graph / "manifest.json") if path.exists()))
    ended = ground.run(_named(words, graph, folder), folder)
    known = 1 if words == AUDIT and ended.code == 1 else None  # the audit found an error, and says so with 1
    said = None if known and "Traceback" not in ended.err else ended.wrong
    said = said or watched.harmed() or left_over(folder, [graph.name, "out", "out.html"])
    if not said and ended.code not in codes:
        said = f"exit {ended.code}, wanted {' or '.join(map(str, codes))}"
    if not said and ended.code == 2 and (folder / "out").exists():
        said = "exit 2, and an output is there"
    said = said or _markup(folder / "out.html")
    said = said and f"{' '.join(words[:2])}: {said}"
    return said, ended.out.replace(str(folder), "FOLDER") if ended.code == 0 else ""


def _markup(page: Path) -> str | None:
    """Whether a hostile text came into a page as markup."""
    if page.is_file() and "<script>alert(1)" in page.read_text(encoding="utf-8", errors="replace"):
        return "a text became markup"
    return None


def _turned(
    ground: Ground, sound: Path, files: list[str], said: dict[int, str], seed: int, folder: Path
) -> str | None:
    """One bit of one file: refused, or the answer is the same, letter for letter."""
    chance = rng("turned", seed)
    name, number = chance.choice(files), seed % len(COMMANDS)
    graph = Path(shutil.copytree(sound, folder / "graph"))
    if not (content := (sound / name).read_bytes()):
        return None
    (graph / name).write_bytes(flipped(content, chance))
    fell, out = _judged(ground, COMMANDS[number], graph, folder)
    if not fell and out and out != said[number]:
        fell = f"{' '.join(COMMANDS[number][:2])}: exit 0, and another answer than of the sound graph"
    return fell and f"{name}: {fell}"


def _audited(ground: Ground, sound: Path, files: list[str], seed: int, folder: Path) -> str | None:
    """One bit of one file: the audit finds it."""
    chance = rng("audited", seed)
    name = chance.choice(files)
    graph = Path(shutil.copytree(sound, folder / "graph"))
    if not (content := (sound / name).read_bytes()):
        return None
    (graph / name).write_bytes(flipped(content, chance))
    fell, _ = _judged(ground, AUDIT, graph, folder, codes=(1, 2))
    return fell and f"{name}: {fell}"


def _cut(ground: Ground, sound: Path, files: list[str], seed: int, folder: Path) -> str | None:
    """A file is away, ends early, or goes on."""
    name, how = files[seed // 3], seed % 3
    graph = Path(shutil.copytree(sound, folder / "graph"))
    content = (sound / name).read_bytes()
    if how == 0:
        (graph / name).unlink()
    else:
        (graph / name).write_bytes(content[: len(content) // 2] if how == 1 else content + b"\0" * 8)
    fell, _ = _judged(ground, COMMANDS[seed % len(COMMANDS)], graph, folder, codes=(2,))
    return fell and f"{name}: {fell}"


# ---- by hand: every size, hash and seal is right, what they cover is not --------------------------------------------


def sealed(graph: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest with sizes, hashes and seal as they must be."""
    from vckg.graph.folder import MANIFEST, manifest_seal

    files = manifest.get("files")
    for name in files if isinstance(files, dict) else ():
        if isinstance(files[name], dict) and (graph / name).is_file():
            content = (graph / name).read_bytes()
            files[name] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest["seal"] = manifest_seal(manifest)
    (graph / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


class Manifest(NamedTuple):
    """A change of a manifest, and how a command may answer."""

    name: str
    change: Callable[[dict[str, Any]], Any]
    codes: tuple[int, ...] = (2,)


def _put(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda manifest: manifest.__setitem__(key, value)


def _source(**values: Any) -> Callable[[dict[str, Any]], Any]:
    def change(manifest: dict[str, Any]) -> None:
        for source in manifest["sources"].values():
            source.update(values)

    return change


MANIFESTS: list[Manifest] = [
    *(
        Manifest(f"{key} is {str(value)[:20]!r}", _put(key, value))
        for key in ("files", "sources", "source_names", "content_hash", "categories", "relations")
        for value in (None, 5, [], "x", {"x": 5})
        if not (key == "content_hash" and value == "x")
    ),
    *(Manifest(f"no {key}", lambda m, key=key: m.pop(key)) for key
        in ("files", "sources", "source_names", "content_hash", "categories")),
    Manifest("a hash that is markup", _put("content_hash", "<script>alert(1)</script>")),
    Manifest("a file outside the folder",
        lambda m: m["files"].__setitem__("../secret", {"bytes": 1, "sha256": "0" * 64})),
    Manifest("an absolute file",
        lambda m: m["files"].__setitem__("/etc/passwd", {"bytes": 1, "sha256": "0" * 64})),
    Manifest("no nodes among the files", lambda m: m["files"].pop("graph/nodes.arrow")),
    Manifest("no subjects among the files", lambda m: m["files"].pop("graph/subject.npy")),
    Manifest("a file of -5 bytes",
        lambda m: m["files"].__setitem__("graph/x.npy", {"bytes": -5, "sha256": "0"})),
    Manifest("a file that is a list", lambda m: m["files"].__setitem__("graph/subject.npy", [])),
    Manifest("fewer sources than the edges name", lambda m: m["source_names"].clear()),
    Manifest("a licence that is a list", _source(licence=[["x"]]), (0, 2)),
    Manifest("markup in what is said of a source",
        _source(title=HOSTILE_TEXT, licence=HOSTILE_TEXT, citation=HOSTILE_TEXT), (0, 2)),
    Manifest("a count that is a word", _source(rows="many", rejected={"x": "y"}, examples={"x": 5}), (0, 2)),
]  # fmt: skip


def _by_hand(ground: Ground, sound: Path, seed: int, folder: Path) -> str | None:
    """A manifest that says what it must not, and one of the commands."""
    made, words = MANIFESTS[seed // len(COMMANDS)], COMMANDS[seed % len(COMMANDS)]
    graph = Path(shutil.copytree(sound, folder / "graph"))
    manifest = json.loads((graph / "manifest.json").read_text())
    made.change(manifest)
    sealed(graph, manifest)
    fell, _ = _judged(ground, words, graph, folder, codes=made.codes)
    return fell and f"{made.name}: {fell}"


def _random_manifest(ground: Ground, sound: Path, seed: int, folder: Path) -> str | None:
    """Any value of the manifest is another, or nested without end, or the file is no JSON."""
    chance = rng("manifest", seed)
    graph = Path(shutil.copytree(sound, folder / "graph"))
    path = graph / "manifest.json"
    manifest = json.loads(path.read_text())
    kind = chance.randrange(8)
    if kind == 0:
        path.write_text(deep_json(chance.choice(["format", "sources", "files"])))
    elif kind == 1:
        path.write_bytes(chance.choice([b"", b"\xff\xfe", b"[]", b"5", b'"x"', b"{", b"NaN", b"null"]))
    else:
        damaged = damaged_json(manifest, chance)
        if isinstance(damaged, dict):
            sealed(graph, damaged)
        else:
            path.write_text(json.dumps(damaged))
    words = COMMANDS[seed % len(COMMANDS)] if chance.random() < 0.9 else AUDIT
    return _judged(ground, words, graph, folder, codes=(0, 1, 2) if words == AUDIT else (0, 2))[0]


def _filled(index: int, value: int) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array[index] = value
        return array

    return change


#: Array of the graph, what is done to it, in words; all of it must be refused.
ARRAYS: list[tuple[str, Callable[[Any], Any], str]] = [
    *((name, _filled(0, value), f"{name}[0] = {value}") for name in ("subject", "object") for value
        in (-5, 10**6)),
    *((name, _filled(2, value), f"{name}[2] = {value}") for name,
        value in (("relation", 200), ("source", 200), ("sign", 77), ("category", 100))),
    *((name, _filled(3, value), f"{name}[3] = {value}") for name
        in ("out_indptr", "in_indptr", "publications_indptr", "evidence_indptr", "tissues_indptr",
            "name_indptr", "relation_start") for value in (-3, 10**6)),
    *((name, _filled(0, value), f"{name}[0] = {value}") for name
        in ("out_rows", "in_rows", "publications_codes", "tissues_codes", "name_node") for value
            in (-3, 10**6)),
    *((name, lambda a: a[:-1], f"{name} is short") for name
        in ("subject", "object", "source", "weight", "category", "out_indptr", "n_publications")),
    *((name, lambda a: a.astype("f8"), f"{name} is of floats") for name
        in ("subject", "out_indptr", "relation")),
    *((name, lambda a: a[:, None], f"{name} has two dimensions") for name in ("subject", "out_indptr")),
    ("subject", lambda a: a[::-1].copy(), "the subjects are backwards"),
]  # fmt: skip


def _arrays(ground: Ground, sound: Path, seed: int, folder: Path) -> str | None:
    """An array that points where nothing is, with the hash that belongs to it, and one of the commands."""
    name, change, said = ARRAYS[seed // len(COMMANDS)]
    graph = Path(shutil.copytree(sound, folder / "graph"))
    path = graph / "graph" / f"{name}.npy"
    np.save(path, change(np.load(path).copy()), allow_pickle=False)
    sealed(graph, json.loads((graph / "manifest.json").read_text()))
    fell, _ = _judged(ground, COMMANDS[seed % len(COMMANDS)], graph, folder, codes=(2,))
    return fell and f"{said}: {fell}"
