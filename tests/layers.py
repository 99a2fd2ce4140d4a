"""The import graph of the four packages: files, rooms (folders), arrows and rings.

``python -m tests.layers`` prints a table of the rooms; ``--dot`` prints the same as a Graphviz graph;
``--revision REV`` reads an older commit. Imports below ``if TYPE_CHECKING`` and inside functions count too.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("vckg", "gather", "arena", "serve")
Arrows = dict[str, set[str]]


def modules(package: str, revision: str | None = None) -> dict[str, str]:
    """Return ``{dotted name: source text}`` of a package in the working tree or at a commit."""
    if revision is None:
        files = {
            path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
            for path in (ROOT / package).rglob("*.py")
        }
    else:
        listed = _git("ls-tree", "-r", "--name-only", revision, package + "/").split()
        files = {name: _git("show", f"{revision}:{name}") for name in listed if name.endswith(".py")}
    return {_dotted(name): text for name, text in sorted(files.items())}


def imported(text: str) -> Iterator[str]:
    """Yield the dotted name of everything that a module imports, ``package.name`` for each imported name."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_arrows(sources: Mapping[str, str]) -> Arrows:
    """Return for each module the modules of the same package that it imports."""
    arrows: Arrows = {}
    for name, text in sources.items():
        found = {_module(target, sources) for target in imported(text)}
        arrows[name] = {target for target in found if target and target != name}
    return arrows


def room_arrows(files: Arrows) -> Arrows:
    """Return for each room the rooms it imports. A room is a folder of the package, or a file at its top."""
    rooms: Arrows = defaultdict(set)
    for source, targets in files.items():
        for target in targets:
            if _room(source, files) != _room(target, files):
                rooms[_room(source, files)].add(_room(target, files))
    return dict(rooms)


def rings(arrows: Arrows) -> list[list[str]]:
    """Return the groups of nodes that reach each other (strongly connected, more than one node)."""
    reach = {node: _reachable(node, arrows) for node in arrows}
    found: list[list[str]] = []
    placed: set[str] = set()
    for node in sorted(arrows):
        ring = sorted(other for other in reach[node] if node in reach.get(other, ()))
        if len(ring) > 1 and node not in placed:
            found.append(ring)
            placed.update(ring)
    return found


def dot(package: str, rooms: Arrows) -> str:
    """Return the rooms of a package as a Graphviz graph."""
    arrows = [f'  "{a}" -> "{b}";' for a in sorted(rooms) for b in sorted(rooms[a])]
    return "\n".join([f"digraph {package} {{", "  rankdir=BT; node [shape=box];", *arrows, "}"])


def _reachable(start: str, arrows: Arrows) -> set[str]:
    seen: set[str] = set()
    waiting = list(arrows.get(start, ()))
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend(arrows.get(node, ()))
    return seen


def _module(target: str, sources: Iterable[str]) -> str | None:
    """Return the module that an imported name lives in: the longest prefix that is a module."""
    known = set(sources)
    parts = target.split(".")
    return next((name for n in range(len(parts), 0, -1) if (name := ".".join(parts[:n])) in known), None)


def _room(module: str, files: Iterable[str]) -> str:
    parts = module.split(".")
    folder = ".".join(parts[:2])
    is_folder = any(name.startswith(folder + ".") for name in files)
    return folder if len(parts) > 2 or is_folder else module


def _dotted(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Print rooms, arrows and rings of each package."""
    parser = argparse.ArgumentParser(prog="python -m tests.layers", description=__doc__)
    parser.add_argument("--dot", action="store_true", help="print Graphviz graphs instead of the table")
    parser.add_argument("--revision", help="read this commit instead of the working tree")
    options = parser.parse_args()
    if not options.dot:
        print("| package | files | lines | rooms | arrows between rooms | rings of files | rings of rooms |")
        print("|---|---|---|---|---|---|---|")
    for package in PACKAGES:
        sources = modules(package, options.revision)
        files = file_arrows(sources)
        rooms = room_arrows(files)
        if options.dot:
            print(dot(package, rooms))
            continue
        n_rooms = len({_room(name, files) for name in files})
        n_lines = sum(text.count("\n") for text in sources.values())
        n_arrows = sum(map(len, rooms.values()))
        print(
            f"| {package} | {len(files)} | {n_lines:,} | {n_rooms} | {n_arrows} "
            f"| {_written(rings(files))} | {_written(rings(rooms))} |"
        )


def _written(found: list[list[str]]) -> str:
    return "; ".join(" ".join(ring) for ring in found) or "none"


if __name__ == "__main__":
    main()
