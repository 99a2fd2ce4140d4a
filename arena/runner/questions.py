"""Objects that tasks, solvers and models need besides the engine's samples: ours, the graph, caches, judges.

The engine's samples hold ids alone; tasks, solvers and models look the rest up here by a name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from arena.contestants import baselines
from arena.contestants.gather import markers_by_type
from arena.run_folder import read_samples
from arena.types import Answer, Generate, Sample, Score, TaskName, samples_sha256
from vckg.base.errors import InputError

if TYPE_CHECKING:
    from gather.llm.cache import ReplyCache
    from vckg.graph.graph import Graph


@dataclass
class Questions:
    """Samples that are being asked, with what contestants and solvers need besides the prompt."""

    samples: Mapping[str, Sample]
    load_graph: Callable[[], Graph]
    fingerprint: str = ""
    """Of the contestant: model, arguments, URL, sampling. Part of every cache key, so that two models never
    share.
    """
    cache: ReplyCache | None = None
    advance: Callable[[float], None] = lambda _steps: None

    @cached_property
    def graph(self) -> Graph:
        """The graph, loaded when first asked for."""
        return self.load_graph()

    @cached_property
    def _peers(self) -> dict[TaskName, baselines.Peers]:
        return {}

    def peers(self, name: TaskName) -> baselines.Peers:
        """All samples of a task, for baselines that count over them."""
        if name not in self._peers:
            samples = {i: s for i, s in self.samples.items() if s.task == name}
            self._peers[name] = baselines.Peers(samples, lambda: markers_by_type(self.graph))
        return self._peers[name]


@dataclass
class Verdicts:
    """Answers that are being judged."""

    samples: Mapping[str, Sample]
    answers: Mapping[str, Answer]
    """By `arena.runner.judge.judged_id`."""
    judge: Callable[[Sample, Answer, Generate], Awaitable[list[Score]]]
    """`arena.judging.llm_judge.judge` with the graph and the judge's name bound."""
    advance: Callable[[float], None] = field(default=lambda _steps: None)


_QUESTIONS: dict[str, Questions] = {}
_VERDICTS: dict[str, Verdicts] = {}


def register_questions(questions: Questions) -> str:
    """Keep samples in this process and return the name that tasks take as ``samples``."""
    key = samples_sha256(list(questions.samples.values()))[:16]
    _QUESTIONS[key] = questions
    return key


def register_verdicts(verdicts: Verdicts, key: str) -> str:
    """Keep answers for the judging task of this process under `key`."""
    _VERDICTS[key] = verdicts
    return key


def made_name(task: TaskName, dataset: str, seed: int, limit: int | None, graph: str) -> str:
    """Return a name of which `questions_of` makes the samples of a task, in any process."""
    asked = {"task": task, "dataset": dataset, "seed": seed, "limit": limit or "", "graph": graph}
    return f"make?{urlencode(asked)}"


def _make(name: str) -> Questions:
    """Make the samples of a task as `arena run` does."""
    import vckg
    from arena.datasets import make_cells
    from arena.tasks.samples import make_samples

    asked = dict(parse_qsl(name.partition("?")[2]))
    task, dataset, seed = asked["task"], asked["dataset"], int(asked["seed"])
    loaded = vckg.load(Path(asked["graph"]) if "graph" in asked else None)
    _, cells = make_cells(dataset, loaded, seed=seed)
    limit = int(asked["limit"]) if "limit" in asked else None
    made = make_samples(cells, (task,), seed=seed, limit=limit).get(task, [])
    if not made:
        raise InputError(f"{dataset}: its cells allow no {task} samples; see `arena data -d {dataset}`")
    return Questions({s.id: s for s in made}, lambda: loaded)


def questions_of(samples: str) -> Questions:
    """Registered samples by name, those of a run's ``samples.jsonl``, or those that `made_name` names."""
    if samples not in _QUESTIONS and samples.startswith("make?"):
        _QUESTIONS[samples] = _make(samples)
    if samples not in _QUESTIONS:
        path = Path(samples)
        if not path.is_file():
            raise InputError(f"samples={samples!r}: give the samples.jsonl of a run that `arena run` made")
        import vckg

        _QUESTIONS[samples] = Questions(read_samples(path), vckg.load)
    return _QUESTIONS[samples]


def verdicts_of(answers: str) -> Verdicts:
    """Registered answers by name."""
    return _VERDICTS[answers]
