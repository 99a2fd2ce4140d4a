"""Label cell sets with a language model: at most one prompt for each, after retrieval.

Every prompt begins with the same bytes (instructions, then the candidates of the whole run), so that a server
computes them once. The evidence of the cell set comes last. An unusable reply (nothing, prose, an id outside the
list) keeps the label of retrieval and is counted by its reason. In an open run, so does a choice without support.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gather.annotation import Annotation
from gather.labelling.decide import supported
from gather.llm.base import Counted, Counters, Message, ModelFailure, estimate_prompt_tokens
from gather.llm.client import Client, concurrently
from gather.llm.evidence_text import EvidenceKind, evidence_text, in_prompt
from vckg.base.prompts import load_prompt

MOST_CANDIDATES = 200
"""Most candidates of an open run. The prefix stays short for small models; some endpoints refuse larger schemas."""
MOST_REASONS = 5
COMPLETION_TOKENS = 60
"""Tokens of one answer in the estimate of a dry run: one id, five reasons and the JSON around them."""
_UNSUPPORTED = "chosen by the model without support from retrieval"
_CURIE = re.compile(r"[A-Za-z]+[:_]\d+")

Fallback = Literal["no_reply", "not_json", "no_id", "outside_candidates", "unsupported"]
Term = tuple[str, str]
"""CURIE and name."""


@dataclass(frozen=True, slots=True)
class LabelRun:
    """Annotations after the model's step, and its cost.

    `fallbacks` counts by reason the cell sets that kept the label of retrieval after a call. `not_asked` counts
    those without candidates or grounded genes.
    """

    annotations: tuple[Annotation, ...]
    counters: Counters
    prompts: tuple[str, ...]
    """Ids of the prompt files."""
    fallbacks: Mapping[str, int] = field(default_factory=dict)
    not_asked: int = 0

    def summary(self, model: str) -> dict[str, str | int]:
        """Plain values for ``uns``, the page and JSON."""
        counts = self.counters
        return {
            "model": model,
            "prompts": "|".join(self.prompts),
            "calls": counts.calls,
            "cached": counts.cached,
            "failures": counts.failures,
            "retries": counts.retries,
            "prompt_tokens": counts.prompt_tokens,
            "completion_tokens": counts.completion_tokens,
            "tokens_estimated": int(counts.estimated),
            "fallbacks": "|".join(f"{reason}:{n}" for reason, n in self.fallbacks.items()) or "none",
            "not_asked": self.not_asked,
        }


@dataclass(frozen=True, slots=True)
class DryRun:
    """Calls and tokens of a run before it is made; tokens are estimates (`gather.llm.base.estimate_tokens`)."""

    cell_sets: int
    calls: int
    """Prompts that differ and are in no cache."""
    cached: int
    prompt_tokens: int
    shared_prefix_tokens: int
    """Tokens of the beginning that all prompts share; a server with a prefix cache computes it once."""
    completion_tokens: int


def label_with_llm(
    annotations: Sequence[Annotation],
    model: Counted,
    *,
    candidates: Sequence[Term] | None = None,
    tissue: str = "",
    kind: EvidenceKind = "both",
    budget_tokens: int = 1500,
    most_items: int | None = None,
    needs_support: bool | None = None,
    workers: int = 8,
    done: Callable[[float], None] = lambda _steps: None,
) -> LabelRun:
    """Let a model choose among the candidates of each cell set.

    Parameters
    ----------
    annotations
        Answers of retrieval, with evidence.
    candidates
        The declared list of a closed run. In an open run, or for a list of more than 200, all prompts offer the
        best candidates of every cell set.
    kind, budget_tokens, most_items
        Limits of the evidence in the prompt, see `gather.llm.evidence_text.evidence_text`.
    needs_support
        Whether a choice needs the support that answers of retrieval need (`gather.labelling.decide.supported`),
        of the term or of a kind of it. A name that another cell set brought into the shared list has none.
        By default True without a declared list.
    workers
        Calls in flight.

    Raises
    ------
    InputError
        The endpoint refuses the key, or knows no such model.
    """
    terms = offered(annotations, candidates)
    if needs_support is None:
        needs_support = candidates is None
    schema = answer_schema(terms)
    prompts = list(label_prompts(annotations, terms, tissue, kind, budget_tokens, most_items))
    before = model.counters

    def ask(index: int) -> tuple[Annotation, Fallback | None]:
        prompt = prompts[index]
        assert prompt is not None
        return _answered(annotations[index], model, prompt, schema, terms, needs_support)

    asked = [index for index, prompt in enumerate(prompts) if prompt is not None]
    answers = dict(zip(asked, concurrently(ask, asked, workers=workers, model=model, done=done), strict=True))
    return LabelRun(
        annotations=tuple(answers[i][0] if i in answers else a for i, a in enumerate(annotations)),
        counters=model.counters - before,
        prompts=(load_prompt("gather/label-system").id, load_prompt("gather/label-user").id),
        fallbacks=dict(sorted(Counter(why for _, why in answers.values() if why).items())),
        not_asked=len(annotations) - len(asked),
    )


def dry_run(
    annotations: Sequence[Annotation],
    client: Client | None = None,
    *,
    candidates: Sequence[Term] | None = None,
    tissue: str = "",
) -> DryRun:
    """Count the calls and tokens that `label_with_llm` needs; send nothing."""
    terms = offered(annotations, candidates)
    schema = answer_schema(terms)
    prompts = [p for p in label_prompts(annotations, terms, tissue) if p is not None]
    different = list({json.dumps(prompt): prompt for prompt in prompts}.values())
    new = [p for p in different if client is None or not client.cached(p, schema=schema)]
    return DryRun(
        cell_sets=len(annotations),
        calls=len(new),
        cached=len(prompts) - len(new),
        prompt_tokens=sum(estimate_prompt_tokens(prompt) for prompt in new),
        shared_prefix_tokens=estimate_prompt_tokens(prompts[0][:1]) if prompts else 0,
        completion_tokens=COMPLETION_TOKENS * len(new),
    )


def offered(annotations: Sequence[Annotation], declared: Sequence[Term] | None) -> list[Term]:
    """Return the terms of every prompt: the declared list if it is short enough, else the shared candidates."""
    if declared is not None and len(declared) <= MOST_CANDIDATES:
        return list(declared)
    return shared_candidates(annotations)


def shared_candidates(annotations: Sequence[Annotation], *, most: int = MOST_CANDIDATES) -> list[Term]:
    """Return the candidates that all prompts of an open run list: the best of every cell set, by CURIE.

    Each set gives as many as keep the whole list within `most`. The answer and the best candidate of every set
    always stay.
    """
    deepest = max((len(a.candidates) for a in annotations), default=0)
    for depth in range(deepest, 0, -1):
        terms = {c.curie: c.label for a in annotations for c in a.candidates[:depth]}
        terms |= {a.curie: a.label for a in annotations if a.curie}
        if len(terms) <= most or depth == 1:
            return sorted(terms.items())
    return []


def label_prompts(
    annotations: Sequence[Annotation],
    terms: Sequence[Term],
    tissue: str,
    kind: EvidenceKind = "both",
    budget_tokens: int = 1500,
    most_items: int | None = None,
) -> Iterator[list[Message] | None]:
    """Yield the chat messages of each cell set; None without candidates or grounded genes."""
    listed = "\n".join(f"{curie} {in_prompt(name)}" for curie, name in terms)
    system: Message = {
        "role": "system",
        "content": load_prompt("gather/label-system").render(candidates=listed),
    }
    user = load_prompt("gather/label-user")
    for annotation in annotations:
        if annotation.status in ("ungrounded", "mixed") or not annotation.candidates or not terms:
            yield None
            continue
        text = user.render(
            tissue=in_prompt(tissue) or "not given",
            genes=", ".join(in_prompt(gene) for gene in annotation.query_genes),
            evidence=evidence_text(annotation, kind=kind, budget_tokens=budget_tokens, most_items=most_items),
        )
        yield [system, {"role": "user", "content": text}]


def answer_schema(terms: Sequence[Term]) -> dict[str, Any]:
    """Return the JSON schema of an answer: an id of the list and the evidence that decided it."""
    return {
        "type": "object",
        "properties": {
            "cell_type_ontology_term_id": {"type": "string", "enum": [curie for curie, _ in terms]},
            "reasons": {"type": "array", "items": {"type": "string"}, "maxItems": MOST_REASONS},
        },
        "required": ["cell_type_ontology_term_id", "reasons"],
        "additionalProperties": False,
    }


class Unusable(Exception):
    """Reply without a usable answer; `reason` is counted."""

    def __init__(self, reason: Fallback, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def read_answer(text: str, terms: Sequence[Term]) -> tuple[str, tuple[str, ...]]:
    """Return the chosen CURIE and the reasons of a reply.

    The last JSON object of the reply is the answer. A name of the list stands for its id.

    Raises
    ------
    Unusable
        No JSON object, no id in it, or an id that was not offered.
    """
    answer = last_json_object(text)
    if answer is None:
        raise Unusable("not_json", f"no JSON object in {in_prompt(text)!r}")
    chosen = answer.get("cell_type_ontology_term_id")
    if not isinstance(chosen, str) or not chosen.strip():
        raise Unusable("no_id", f"no cell_type_ontology_term_id in {in_prompt(text)!r}")
    curie = term_of(chosen, terms)
    if curie is None:
        raise Unusable("outside_candidates", f"{in_prompt(chosen)!r} was not offered")
    given = answer.get("reasons")
    reasons = [r for r in given if isinstance(r, str)] if isinstance(given, list) else []
    return curie, tuple(dict.fromkeys(reasons))[:MOST_REASONS]


def term_of(chosen: str, terms: Sequence[Term]) -> str | None:
    """Return the offered CURIE of a model's choice: an id, ``id name``, or exactly an offered name."""
    offered = {curie for curie, _ in terms}
    for match in _CURIE.findall(chosen):
        if (curie := str(match).replace("_", ":").upper()) in offered:
            return curie
    by_name = {in_prompt(name).casefold(): curie for curie, name in terms}
    return by_name.get(chosen.strip().casefold())


def last_json_object(text: str) -> dict[str, Any] | None:
    """Return the last complete JSON object at the top level of a text, or None."""
    decoder = json.JSONDecoder()
    last: dict[str, Any] | None = None
    start = text.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            last = value
        start = text.find("{", end)
    return last


def _answered(
    annotation: Annotation,
    model: Counted,
    prompt: list[Message],
    schema: Mapping[str, Any],
    terms: Sequence[Term],
    needs_support: bool,
) -> tuple[Annotation, Fallback | None]:
    try:
        reply = model.complete(prompt, schema=schema)
        curie, reasons = read_answer(reply.text, terms)
    except ModelFailure as failure:
        return _fallen_back(annotation, "no_reply", f"the model gave no answer: {failure}")
    except Unusable as unusable:
        return _fallen_back(annotation, unusable.reason, f"the model gave no answer: {unusable}")
    known = {item.id for item in (*annotation.evidence, *annotation.convergence)}
    own = annotation.standing(curie)
    confidence, fdr = (own.confidence, own.fdr) if own else (0.0, 1.0)
    if curie == annotation.curie:
        confidence, fdr = annotation.confidence, annotation.fdr
    elif needs_support and not supported(fdr):
        return _fallen_back(annotation, "unsupported", f"{dict(terms)[curie]} ({curie}) was {_UNSUPPORTED}")
    return (
        replace(
            annotation,
            status=annotation.status if curie == annotation.curie else "named",
            curie=curie,
            label=dict(terms)[curie],
            confidence=confidence,
            fdr=fdr,
            reason="",
            decided_by="llm",
            reasons=tuple(r for r in reasons if r in known),
            contradictions=annotation.contradictions if curie == annotation.curie else (),
            note=annotation.note if own or curie == annotation.curie else _noted(annotation, _UNSUPPORTED),
        ),
        None,
    )


def _fallen_back(annotation: Annotation, reason: Fallback, remark: str) -> tuple[Annotation, Fallback]:
    return replace(annotation, decided_by="fallback", note=_noted(annotation, remark)), reason


def _noted(annotation: Annotation, remark: str) -> str:
    return f"{annotation.note}; {remark}" if annotation.note else remark
