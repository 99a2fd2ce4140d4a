"""What judges said of a run's answers: one file a judge and endpoint, only ever added to.

A verdict is paid for, so nothing takes it away: judging fewer samples later, or the same model at another
address, adds rows or another file. A row says which answer it judges by the hash of its text; the newest row of an
answer counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from arena import run_folder
from arena.contestants.resolve import Contestant
from arena.types import Answer, Score


class Judgements:
    """The file of one judge.

    Parameters
    ----------
    folder
        Of all judges of a run.
    slug
        The judge's name as a file's.
    asked
        Digest of what verdicts depend on beside the answer: model, address, prompts, rubric, limits.
    """

    def __init__(self, folder: Path, slug: str, asked: str) -> None:
        self.path = folder / f"{slug}--{asked}.jsonl"
        self._slug, self._asked = slug, asked
        if self.path.is_file():
            run_folder.append_records(self.path, ())  # a line that a kill cut off goes

    def judge_id(self, judge: Contestant) -> str:
        """Name of the judge in tables: its own, with the address where a file of that name came before.

        Where that name is taken too (other prompts or limits at one address) the digest stands behind it.
        """
        others = [p for p in self._namesakes() if p != self.path]
        if self.path.is_file() and (rows := run_folder.read_scores(self.path)):
            return rows[0].scorer.removesuffix(":sc-arena")
        if not others:
            return judge.name
        address = urlsplit(judge.base_url)
        where = address.netloc.rpartition("@")[2] + address.path
        taken = {s.scorer.removesuffix(":sc-arena") for p in others for s in run_folder.read_scores(p)[:1]}
        named = f"{judge.name} [{where}]"
        return named if where and named not in taken else f"{judge.name} [{self._asked}]"

    def _namesakes(self) -> list[Path]:
        found = self.path.parent.glob("*.jsonl")
        return [p for p in found if p.stem.rpartition("--")[0] == self._slug or p.stem == self._slug]

    def add(self, scores: Iterable[Score], answers: Mapping[str, Answer]) -> None:
        """Add what is not yet there; a call that failed takes no earlier verdict's place."""
        digests = {(a.sample_id, a.epoch): text_digest(a) for a in answers.values()}
        held = run_folder.read_scores(self.path) if self.path.is_file() else []
        known = {_key(row): row for row in held}
        new = []
        for score in scores:
            marks = {"answer": digests[score.sample_id, score.epoch], "asked": self._asked}
            row = replace(score, metadata={**score.metadata, **marks})
            before = known.get(_key(row))
            if before is None or (before != row and row.value is not None):
                new.append(row)
        run_folder.append_records(self.path, new)


def judgements_of(folder: Path, answers: Sequence[Answer]) -> Iterator[Score]:
    """The newest verdict of every judge on every answer as it stands now."""
    digests = {(a.sample_id, a.epoch): text_digest(a) for a in answers}
    for path in sorted(folder.glob("*.jsonl")):
        newest: dict[tuple[object, ...], Score] = {}
        for row in run_folder.read_scores(path):
            digest = digests.get((row.sample_id, row.epoch))
            if digest is not None and row.metadata.get("answer", digest) == digest:
                newest[_key(row)] = row
        yield from newest.values()


def text_digest(answer: Answer) -> str:
    """Eight digits of the hash of an answer's text."""
    return hashlib.sha256(answer.text.encode()).hexdigest()[:8]


def _key(row: Score) -> tuple[object, ...]:
    return row.scorer, row.sample_id, row.epoch, row.dimension, row.metadata.get("answer")
