"""What an attack is, what it must leave alone, and how a share of its cases is drawn."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile.commands import Commands, Ended, Limits

HOSTILE_TEXT = "<script>alert(1)</script>\x00\u202e\n../../etc/passwd"
DEEP = 200_000
"""Levels of nested brackets."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One row of the table: `strike(seed, folder)` does a case in an empty folder and says what fell, or None."""

    name: str
    strike: Callable[[int, Path], str | None]
    cases: int | None = None
    """How many different cases there are; None: as many as there are seeds."""
    share: float = 1.0
    """Of the rounds asked for: less where one case takes long."""
    at_once: int = 2
    """So many cases run beside each other: 1 where they share a thing, more where they wait."""

    def seeds(self, rounds: int) -> Sequence[int]:
        """The seeds that `rounds` rounds try: every case once where they are fewer, else an even choice of them."""
        wanted = max(1, round(rounds * self.share))
        if self.cases is None:
            return range(wanted)
        if self.cases <= wanted:
            return range(self.cases)
        return sorted(random.Random(self.name).sample(range(self.cases), wanted))


@dataclass(slots=True)
class Ground:
    """Where a part's attacks take place."""

    commands: Commands
    folder: Path
    """For what a part prepares once."""
    rounds: int
    prepared: dict[str, Path] = field(default_factory=dict)

    def run(self, words: Sequence[str | Path], folder: Path, **options: object) -> Ended:
        """Run a command with what lies in `folder`."""
        return self.commands.run([str(w) for w in words], folder, **options)

    def must_work(self, words: Sequence[str | Path], folder: Path, **options: object) -> Ended:
        """Run a command that has to succeed, else nothing that follows would mean anything."""
        ended = self.run(words, folder, **options)
        if ended.wrong or ended.code:
            raise RuntimeError(f"{' '.join(ended.words)}: {ended.wrong or ended.err}")
        return ended


def rng(name: str, seed: int) -> random.Random:
    """The random numbers of one case."""
    return random.Random(f"{name}:{seed}")


def digest(path: Path) -> str:
    """What a file or a folder holds, names included; links are not followed.

    Left out are what the harness keeps, and what a graph folder keeps only to save time.
    """
    seen = hashlib.sha256()
    for file in sorted([path, *path.rglob("*")] if path.is_dir() else [path]):
        if {".run", "operators"} & {*file.parts[len(path.parts) :]}:
            continue
        seen.update(os.fsencode(file.relative_to(path)) + b"\0")
        if file.is_symlink():
            seen.update(os.fsencode(file.readlink()))
        elif file.is_file():
            seen.update(hashlib.sha256(file.read_bytes()).digest())
    return seen.hexdigest()


class Watched:
    """Files and folders that no command may touch."""

    def __init__(self, *paths: Path) -> None:
        self._before = {path: digest(path) for path in paths}

    def harmed(self) -> str | None:
        """Which of them is not as it was."""
        for path, before in self._before.items():
            if not path.exists() or digest(path) != before:
                return f"{path.name} is not as it was"
        return None


def left_over(folder: Path, allowed: Iterable[str]) -> str | None:
    """A name in a folder that nobody asked for: half a file, a scratch folder; locks may stay."""
    known = {*allowed, ".run"}
    extra = [p.name for p in sorted(folder.iterdir()) if p.name not in known and not p.name.endswith(".lock")]
    return f"left behind: {extra[0]}" if extra else None


def flipped(content: bytes, rng: random.Random, *, bits: int = 1, window: range | None = None) -> bytes:
    """A content with some bits turned, all of them in a window of it if one is given."""
    damaged = bytearray(content)
    where = window or range(len(damaged))
    for _ in range(bits):
        damaged[rng.choice(where)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def deep_json(around: str = "x") -> str:
    """A JSON object whose one value is nested deeper than a parser may follow."""
    return f'{{"{around}": {"[" * DEEP}{"]" * DEEP}}}'


def odd_value(rng: random.Random) -> object:
    """A value that stands where another kind of value is expected."""
    return rng.choice(
        [
            None,
            -5,
            2**70,
            -1e308,
            True,
            "",
            HOSTILE_TEXT,
            [],
            {},
            [[]],
            {"a": {}},
            "x" * 100_000,
            5,
            0.5,
            ["a", 1],
        ]
    )


def damaged_json(value: object, rng: random.Random) -> object:
    """A copy with one value somewhere in it replaced, taken out, or doubled."""
    copy = json.loads(json.dumps(value))
    places = list(_places(copy))
    if not places:
        return odd_value(rng)
    holder, key = rng.choice(places)
    action = rng.randrange(3)
    if action == 0:
        holder[key] = odd_value(rng)
    elif action == 1:
        del holder[key]
    elif isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[f"{key}{rng.choice(['s', ' ', HOSTILE_TEXT])}"] = holder[key]
    return copy


def _places(value: object) -> Iterable[tuple[dict | list, object]]:
    """Every holder and key of a JSON value; of long lists the first few only."""
    pairs = (
        value.items() if isinstance(value, dict) else enumerate(value[:5]) if isinstance(value, list) else ()
    )
    for key, inner in list(pairs):
        yield value, key
        yield from _places(inner)


__all__ = [
    "Attack",
    "Ground",
    "Limits",
    "Watched",
    "damaged_json",
    "deep_json",
    "digest",
    "flipped",
    "left_over",
    "odd_value",
    "rng",
]
