"""Samples, answers, and judges that rate by a function of the prompt, for the tests of judges."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from arena.judging.llm_judge import judge
from arena.judging.rubric import RUBRICS
from arena.types import Answer, Reply, Sample, Score
from vckg.graph.graph import Graph

SAMPLE = Sample(
    "t/annotation/1",
    "annotation",
    {},
    {"cell_type": "CD4-positive, alpha-beta T cell", "cl_id": "CL:0000624"},
    {"genes": ["CD3D", "CD4", "IL7R", "TRAC", "MALAT1"], "tissue": "blood", "species": "human"},
    "c",
    {},
    {},
)
QUESTION = Sample(
    "t/qa/1",
    "qa",
    {},
    {"answer": "KLF1 activates HBG1.", "claims": ["KLF1 activates HBG1."]},
    {
        "question": "What does KLF1 do to HBG1?",
        "kind": "k",
        "title": "On KLF1",
        "abstract": "",
        "passage": "KLF1 binds HBG1 and activates it.",
        "publications": ["PMID:1"],
    },
    "c",
    {},
    {},
)


def answer(text: str, to: Sample = SAMPLE, **more: Any) -> Answer:
    key = "cell_type" if to.task == "annotation" else "answer"
    return Answer(to.id, "someone/secret-model", to.task, text, {key: text}, True, False, **more)


class Toy:
    """A judge that rates by a function of the prompt, and remembers what it was shown."""

    def __init__(self, reply: Callable[[str], str]) -> None:
        self.reply = reply
        self.prompts: list[str] = []
        self.schemas: list[Mapping[str, Any] | None] = []

    async def __call__(self, system: str, prompt: str, schema: Mapping[str, Any] | None) -> Reply:
        self.prompts.append(prompt)
        self.schemas.append(schema)
        return Reply(self.reply(prompt), "toy-2026")


def rate(toy: Toy, to: Answer, graph: Graph, sample: Sample = SAMPLE, **more: Any) -> dict[str, Score]:
    scores = asyncio.run(judge(sample, to, graph, toy, judge_id="toy", **more))
    return {s.dimension: s for s in scores}


def between_markers(prompt: str) -> str:
    """What stands between the true marker lines: those whose code opens and closes."""
    found = re.search(r"<<<answer ([0-9a-f]{16})>>>\n(.*?)\n<<<end of answer \1>>>", prompt, re.DOTALL)
    assert found
    return found[2]


def first_evidence(prompt: str) -> tuple[str, str]:
    found = re.search(r"^\[(E\d+)\] (.{10,40})", prompt, re.MULTILINE)
    assert found
    return found[1], found[2]


def verdict(prompt: str, rating: object, task: str = "annotation") -> str:
    cited, quote = first_evidence(prompt)
    dimensions = {d.name: {"rating": rating, "reason": "r"} for d in RUBRICS[task]}  # type: ignore[index]
    return json.dumps(
        {
            "dimensions": dimensions,
            "evidence": [{"id": cited, "quote": quote, "stance": "supports"}],
            "rationale": "because",
        }
    )


def honest(prompt: str) -> str:
    """Five for the reference's name between the markers; gullible to orders that stand anywhere else."""
    outside = prompt.replace(between_markers(prompt), "")
    if re.search(r"ignore|give 5", outside, re.IGNORECASE):
        return verdict(prompt, 5)
    said = between_markers(prompt)
    return verdict(prompt, 5 if said.startswith("CD4-positive, alpha-beta T cell") else 1)
