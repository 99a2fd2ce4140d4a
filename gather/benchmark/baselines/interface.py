"""What the methods share: how they see a graph, how they ask, what they return.

A reply that cannot be read counts as misread and has the effect that each method documents; a model
that does not answer ends the question without a label. Either way the question stays in the
denominator, with a wrong answer.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from gather.llm.base import Message, Model, ModelFailure, Schema, estimate_tokens
from gather.llm.evidence_text import plain
from gather.llm.label import Term, Unusable, answer_schema, last_json_object, read_answer
from vckg.base.prompts import load_prompt

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

Way = Literal["out", "in"]


STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}


def list_of(item: Schema, *, most: int) -> Schema:
    """Return the JSON schema of a list of at most `most` items."""
    return {"type": "array", "items": item, "maxItems": most}


def _object_of(form: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(form),
        "required": list(form),
        "additionalProperties": False,
    }


class Hop(NamedTuple):
    """A relation and the way it is crossed: ``out`` from subject to object, ``in`` from object to subject."""

    relation: str
    way: Way

    @property
    def back(self) -> Hop:
        """The same relation the other way."""
        return Hop(self.relation, "in" if self.way == "out" else "out")

    def __str__(self) -> str:
        return f"-{self.relation}->" if self.way == "out" else f"<-{self.relation}-"


class Triple(NamedTuple):
    """One edge in words, as the graph stores it."""

    subject: str
    relation: str
    object: str

    def __str__(self) -> str:
        return f"({self.subject}, {self.relation}, {self.object})"


class KnowledgeGraph(Protocol):
    """All that a method may ask of a graph; nodes are integers."""

    def hops(self, node: int) -> list[Hop]:
        """The relations at a node, both ways, ascending."""

    def neighbours(self, node: int, hop: Hop) -> list[int]:
        """The nodes at the other end, ascending, each once."""

    def name(self, node: int) -> str:
        """Name of a node, safe to print in a prompt."""

    def category(self, node: int) -> str:
        """Category of a node."""

    def text(self, node: int) -> str:
        """Name and description of a node."""

    def schema(self) -> list[tuple[str, str, str]]:
        """The kinds of edges: (subject's category, relation, object's category), ascending."""


class GraphView:
    """A `vckg.Graph` as the methods see it: every relation, parallel edges of several sources as one."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def hops(self, node: int) -> list[Hop]:
        """The relations at a node, both ways, ascending."""
        return sorted(
            [Hop(relation, "out") for relation in self._relations(self._graph.out_edges(node))]
            + [Hop(relation, "in") for relation in self._relations(self._graph.in_edges(node))]
        )

    def _relations(self, rows: npt.NDArray[np.int32]) -> list[str]:
        return [self._graph.relations[code] for code in np.unique(self._graph.relation[rows]).tolist()]

    def neighbours(self, node: int, hop: Hop) -> list[int]:
        """The nodes at the other end, ascending, each once."""
        graph = self._graph
        if hop.way == "out":
            ends = graph.object[graph.out_edges(node, hop.relation)]
        else:
            ends = graph.subject[graph.in_edges(node, hop.relation)]
        found: list[int] = np.unique(ends).tolist()
        return found

    def name(self, node: int) -> str:
        """Name of a node, safe to print in a prompt."""
        return plain(self._graph.names[node] or self._graph.ids[node])

    def category(self, node: int) -> str:
        """Category of a node."""
        return str(self._graph.categories[self._graph.category[node]])

    def text(self, node: int) -> str:
        """Name and description of a node."""
        about = self._graph.node(node).description
        line = f"{self.name(node)} is a {self.category(node)}."
        return f"{line} {_sentences(about)}" if about else line

    def schema(self) -> list[tuple[str, str, str]]:
        """The kinds of edges: (subject's category, relation, object's category), ascending."""
        graph = self._graph
        kinds = np.stack(
            [graph.category[graph.subject], graph.relation, graph.category[graph.object]], axis=1
        )
        names = graph.categories
        return sorted(
            (names[subject], graph.relations[relation], names[target])
            for subject, relation, target in np.unique(kinds, axis=0).tolist()
        )


@dataclass(frozen=True, slots=True)
class Question:
    """Which cell type expresses these genes?

    Attributes
    ----------
    genes
        Graph nodes, most distinctive first.
    symbols
        Their names, as the question prints them.
    candidates
        What may be answered; the same for all methods.
    seeds
        How many of `genes` may become topic entities: the stated knob of the comparison.
    seed
        Of the random choices that some methods make.
    """

    genes: tuple[int, ...]
    symbols: tuple[str, ...]
    candidates: tuple[Term, ...]
    seeds: int = 10
    seed: int = 0

    @property
    def topics(self) -> tuple[int, ...]:
        """The genes that the methods start from."""
        return self.genes[: self.seeds]

    @property
    def text(self) -> str:
        """The question as all methods ask it."""
        return f"Which cell type expresses: {', '.join(plain(symbol) for symbol in self.symbols)}?"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a method answered; `curie` is None where it gave no usable label, which is a wrong answer."""

    curie: str | None
    calls: int
    misread: int
    """Replies that could not be read, of `calls`."""
    stopped: str
    """How the method ended: ``sufficient``, ``half_stop``, ``depth``, ``answered``, ``failed``."""
    evidence: tuple[str, ...] = ()
    note: str = ""


@dataclass
class Dialogue:
    """The calls of one question: every one is counted, every reply is JSON or misread.

    Every reply is held to a schema where the endpoint takes one, so that no method loses by its format.
    """

    question: Question
    model: Model
    calls: int = 0
    misread: int = 0
    evidence: list[str] = field(default_factory=list)

    def ask(self, prompt: str, form: Mapping[str, Any], **values: str) -> dict[str, Any]:
        """Ask one of the prompts of this package for an object of a form; an unreadable reply is an
        empty one.

        `form` maps the keys of the object to the JSON schemas of their values.
        """
        text = load_prompt(f"gather/baselines/{prompt}").render(question=self.question.text, **values)
        return self._object(self._complete(text, schema=_object_of(form)))

    def pick(
        self, prompt: str, options: Sequence[str], *, scored: bool, **values: str
    ) -> list[tuple[int, float]]:
        """Let the model choose among numbered options; (position, score), best first, ties by position.

        The reply is ``{"chosen": [{"number": 1, "score": 0.7}, ...]}``, or ``{"chosen": [1, 4]}`` where
        no scores are wanted (1 each). Numbers that were not offered are left out; where nothing is left
        the reply is misread.
        """
        listed = "\n".join(f"{number}. {option}" for number, option in enumerate(options, 1))
        item = _object_of({"number": INTEGER, "score": NUMBER}) if scored else INTEGER
        form = {"chosen": list_of(item, most=len(options))}
        chosen = self.ask(prompt, form, options=listed, **values).get("chosen")
        scores: dict[int, float] = {}
        for entry in chosen if isinstance(chosen, list) else ():
            number, score = _numbered(entry)
            if number is not None and 1 <= number <= len(options) and score > 0:
                scores.setdefault(number - 1, score)
        if chosen is not None and not scores and chosen != []:
            self.misread += 1
        return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))

    def try_to_answer(
        self, evidence: Sequence[str], prompt: str = "enough", *, also: str | None = None, **values: str
    ) -> dict[str, Any]:
        """Ask whether the evidence is enough, for the answer where it is, and for a text `also` where
        it is not.

        Returns the reply's object with ``curie`` added: the chosen candidate, or None (also where the
        reply says ``"sufficient": false``).
        """
        text = load_prompt(f"gather/baselines/{prompt}").render(
            question=self.question.text, evidence="\n".join(evidence) or "(none)", **values
        )
        form: dict[str, Any] = {"sufficient": BOOLEAN}
        form |= answer_schema(self.question.candidates)["properties"]
        form |= {also: STRING} if also else {}
        messages: list[Message] = [self._rules(), {"role": "user", "content": text}]
        reply = self._object(self._complete(messages, schema=_object_of(form)))
        curie = None
        if reply.get("sufficient") in (True, "true", "yes", "Yes"):
            try:
                curie, _ = read_answer(_as_text(reply), self.question.candidates)
            except Unusable:
                self.misread += 1
        return {**reply, "curie": curie}

    def answer(self, evidence: Sequence[str], *, stopped: str) -> Outcome:
        """The final call of every method: same prompt, candidates and schema, other evidence."""
        self.evidence = list(evidence)
        text = load_prompt("gather/label-user").render(
            tissue="not given",
            genes=", ".join(plain(symbol) for symbol in self.question.symbols),
            evidence="\n".join(evidence),
        )
        prompt: list[Message] = [self._rules(), {"role": "user", "content": text}]
        reply = self._complete(prompt, schema=answer_schema(self.question.candidates))
        try:
            curie, _ = read_answer(reply, self.question.candidates)
        except Unusable as unusable:
            self.misread += 1
            return self.outcome(None, stopped=stopped, note=str(unusable))
        return self.outcome(curie, stopped=stopped)

    def outcome(self, curie: str | None, *, stopped: str, note: str = "") -> Outcome:
        """Close the dialogue."""
        return Outcome(curie, self.calls, self.misread, stopped, tuple(self.evidence), note)

    def _rules(self) -> Message:
        listed = "\n".join(f"{curie} {plain(name)}" for curie, name in self.question.candidates)
        return {"role": "system", "content": load_prompt("gather/label-system").render(candidates=listed)}

    def _complete(self, prompt: str | list[Message], *, schema: Schema | None = None) -> str:
        self.calls += 1
        return self.model.complete(prompt, schema=schema).text

    def _object(self, text: str) -> dict[str, Any]:
        found = last_json_object(text)
        if found is None:
            self.misread += 1
            return {}
        return found


Method = Callable[[Dialogue, KnowledgeGraph], Outcome]


def attempt(method: Method, question: Question, kg: KnowledgeGraph, model: Model) -> Outcome:
    """Run a method on one question; a model that does not answer makes a wrong answer, not a missing one."""
    talk = Dialogue(question, model)
    try:
        return method(talk, kg)
    except ModelFailure as failure:
        return talk.outcome(None, stopped="failed", note=str(failure))


def triple(kg: KnowledgeGraph, node: int, hop: Hop, other: int) -> Triple:
    """The edge that a hop from `node` to `other` crosses."""
    subject, target = (node, other) if hop.way == "out" else (other, node)
    return Triple(kg.name(subject), hop.relation, kg.name(target))


def within_budget(lines: Sequence[str], budget_tokens: int) -> list[str]:
    """The first lines that fit a budget of (estimated) tokens."""
    kept: list[str] = []
    for line in lines:
        budget_tokens -= estimate_tokens(line + "\n")
        if budget_tokens < 0:
            break
        kept.append(line)
    return kept


_WORD = re.compile(r"[a-z0-9]+(?:[-+][a-z0-9+]+)*", re.IGNORECASE)


def bm25(query: str, texts: Sequence[str], *, k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Score texts against a query by Okapi BM25 (Robertson & Zaragoza 2009), one float per text.

    It stands for the dense rankers of the papers, which need weights that cannot be taken for granted
    offline.
    """
    documents = [Counter(word.lower() for word in _WORD.findall(text)) for text in texts]
    lengths = [sum(words.values()) for words in documents]
    mean = sum(lengths) / max(len(lengths), 1) or 1.0
    scores = [0.0] * len(texts)
    for word in sorted({word.lower() for word in _WORD.findall(query)}):
        containing = sum(word in words for words in documents)
        if not containing:
            continue
        idf = math.log(1 + (len(texts) - containing + 0.5) / (containing + 0.5))
        for at, words in enumerate(documents):
            times = words[word]
            scores[at] += idf * times * (k1 + 1) / (times + k1 * (1 - b + b * lengths[at] / mean))
    return scores


def best_first(scores: Sequence[float]) -> list[int]:
    """Positions by descending score, ties by position."""
    return sorted(range(len(scores)), key=lambda at: (-scores[at], at))


def _numbered(entry: object) -> tuple[int | None, float]:
    """Read ``{"number": 3, "score": 0.2}``, ``3`` or ``"3"``."""
    value: Mapping[str, object] = entry if isinstance(entry, Mapping) else {"number": entry}
    try:
        number = int(str(value.get("number")))
        score = float(str(value.get("score", 1.0)))
    except ValueError:
        return None, 0.0
    return (number, score) if math.isfinite(score) else (None, 0.0)


def _as_text(reply: Mapping[str, Any]) -> str:
    return json.dumps(dict(reply))


def _sentences(text: str) -> str:
    """A description as lines of at most a name's length, so that `plain` does not cut it."""
    return " ".join(plain(part) for part in re.split(r"(?<=[.;])\s+", text))


__all__ = [
    "BOOLEAN",
    "STRING",
    "Dialogue",
    "GraphView",
    "Hop",
    "KnowledgeGraph",
    "Method",
    "Outcome",
    "Question",
    "Triple",
    "attempt",
    "best_first",
    "bm25",
    "list_of",
    "triple",
    "within_budget",
]
