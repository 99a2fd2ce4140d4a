"""Attack the four commands: ``python -m tests.hostile [--part NAME] [--rounds N] [--rows FILE] [--output FILE]``.

A table is printed: attack, how often it was tried, how often the command held, and the first example that fell, which
``--only "NAME#SEED"`` repeats alone. Held means: exit 0 or 2 in time, with no traceback, no file harmed, no half file
left, and what was written is valid. Exit code 1 if anything fell.

``--rows FILE`` keeps each row as it is finished. A second run skips the attacks that are in the file.
So parts that run one by one, and a run that was stopped, give one table. ``--table`` prints it and attacks nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from tests.hostile.attacks import Attack, Ground
from tests.hostile.commands import LIBRARIES, Commands

#: Part, the module of its attacks, and the libraries its commands load.
PARTS = {
    "cells": ("tests.hostile.cells", ("core", "cells")),
    "graph": ("tests.hostile.graphs", ("core", "cells")),
    "models": ("tests.hostile.models", ("models",)),
    "runs": ("tests.hostile.runs", ("core", "arena")),
    "endpoint": ("tests.hostile.endpoint", ("core", "cells", "arena")),
    "server": ("tests.hostile.server", ("models",)),
    "machine": ("tests.hostile.machine", ("core", "cells", "arena")),
}


class Row(NamedTuple):
    """An attack's line of the table."""

    name: str
    tried: int
    fell: Sequence[tuple[int, str]]
    seconds: float

    def markdown(self) -> str:
        example = f"`{self.name}#{self.fell[0][0]}`: {_cell(self.fell[0][1])}" if self.fell else ""
        return (
            f"| {self.name} | {self.tried} | {self.tried - len(self.fell)} | {len(self.fell)} | {example} |"
        )


def _cell(text: str) -> str:
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable.replace("|", "\\|").replace("<", "&lt;")[:200]


def attacks_of(
    parts: Sequence[str], commands: Commands, scratch: Path, rounds: int, wanted: Callable[[str], bool]
) -> Iterator[Attack]:
    """The attacks of some parts, each part prepared just before its first attack is wanted."""
    for part in parts:
        folder = scratch / part
        folder.mkdir()
        made = import_module(PARTS[part][0]).attacks(Ground(commands, folder, rounds))
        yield from (attack for attack in made if wanted(attack.name))


def strike(attack: Attack, seed: int, scratch: Path, keep: bool) -> str | None:
    """One case in a folder of its own, which is removed unless it fell and is to be kept."""
    folder = scratch / f"{attack.name}-{seed}".replace("/", "_").replace(" ", "-")
    folder.mkdir()
    fell = attack.strike(seed, folder)
    if not (keep and fell):
        shutil.rmtree(folder, ignore_errors=True)
    return fell


def run(attack: Attack, seeds: Sequence[int], scratch: Path, keep: bool) -> Row:
    """Every case of an attack, as many at a time as it allows."""
    started = time.monotonic()
    with ThreadPoolExecutor(attack.at_once) as pool:
        results = pool.map(lambda seed: strike(attack, seed, scratch, keep), seeds)
        fell = tuple((seed, said) for seed, said in zip(seeds, results, strict=True) if said)
    return Row(attack.name, len(seeds), fell, time.monotonic() - started)


def table(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    head = "| attack | tried | held | fell | first example that fell |\n|---|---|---|---|---|"
    tried, fell = sum(r.tried for r in rows), sum(len(r.fell) for r in rows)
    total = f"| all | {tried} | {tried - fell} | {fell} | |"
    return "\n".join([head, *(row.markdown() for row in rows), total]) + "\n"


def arguments() -> argparse.Namespace:
    """The command line, read."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--part", action="append", choices=[*PARTS], help="repeatable; without it all")
    parser.add_argument(
        "--rounds", type=int, default=1000, help="cases of an attack at most; random ones have as many"
    )
    parser.add_argument("--only", metavar="NAME#SEED", help="one case, or without #SEED one attack")
    parser.add_argument("--rows", type=Path, help="keep finished rows there, and skip those that it has")
    parser.add_argument("--table", action="store_true", help="only print the rows that --rows has")
    parser.add_argument("--output", type=Path, help="also write the table there")
    parser.add_argument("--keep", type=Path, help="new folder in which the cases that fell are kept")
    return parser.parse_args()


def main() -> int:
    """Attack, print the table, and say whether everything held."""
    asked = arguments()
    rows = kept(asked.rows)
    if not asked.table:
        attack_all(asked, rows)
    sys.stdout.write(table(rows))
    if asked.output:
        asked.output.write_text(page(table(rows), asked.rounds), encoding="utf-8")
    return int(any(row.fell for row in rows))


def attack_all(asked: argparse.Namespace, rows: list[Row]) -> None:
    """Attack what is asked for and is not among the rows, and add a row for each attack."""
    name, _, seed = (asked.only or "").partition("#")
    scratch = asked.keep or Path(tempfile.mkdtemp(prefix="hostile-"))
    scratch.mkdir(parents=True, exist_ok=True)
    done = {row.name for row in rows}
    parts = asked.part or [*PARTS]
    libraries = dict.fromkeys(name for part in parts for group in PARTS[part][1] for name in LIBRARIES[group])
    commands = Commands([*libraries])
    signal.signal(signal.SIGTERM, lambda *_: (commands.kill(), sys.exit(143)))

    def wanted(attack: str) -> bool:
        return attack == name if name else attack not in done

    try:
        for attack in attacks_of(parts, commands, scratch, asked.rounds, wanted):
            row = run(attack, [int(seed)] if seed else attack.seeds(asked.rounds), scratch, bool(asked.keep))
            rows.append(row)
            if asked.rows:
                with asked.rows.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row._asdict()) + "\n")
            sys.stderr.write(f"{row.markdown()} {row.seconds:.0f} s\n")
            if asked.keep or seed:
                sys.stderr.write("".join(f"    #{s}: {said}\n" for s, said in row.fell))
    finally:
        commands.kill()
        if not asked.keep:
            shutil.rmtree(scratch, ignore_errors=True)


def kept(path: Path | None) -> list[Row]:
    """The rows that earlier runs kept."""
    if path is None or not path.exists():
        return []
    return [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def page(rows: str, rounds: int) -> str:
    """The page of results."""
    return f"# Hostile input\n\n{__doc__}\nPrinted by `python -m tests.hostile --rounds {rounds}`.\n\n{rows}"


if __name__ == "__main__":
    sys.exit(main())
