"""``python -m benchmarks.annotation.official_form FOLDER --model NAME --base-url URL``: the paper's form of the prompt.

The official prompt (SUAT-AIRI/GATHER, ``answer_prompts.py``) shows the genes, the numbered candidates and the retrieved
knowledge, demands one of the candidates, and wants ``[Predicted_Cell_Type: ...]``. Here are its parts in this project's
words, one user message, one call a cell. A reply is read as ``run_inference.py`` reads it: without that bracket, or
with a name off the list, it is wrong. FOLDER is what `benchmarks.annotation.stand_in` wrote.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gather.benchmark.llm import Case, ClaimRow, Result, render_claim
from gather.benchmark.llm_command import sentence_cases
from gather.benchmark.paper_protocol import paper_sets
from gather.llm.base import Counted, Model, ModelFailure, estimate_tokens
from gather.llm.cache import ReplyCache, default_cache_path
from gather.llm.client import Client, concurrently
from gather.llm.evidence_text import EvidenceKind, evidence_text
from gather.ontology import Ontology
from gather.retrieval.candidates import ground_cell_types, read_candidate_names
from vckg.base.console import run
from vckg.build.default_graph import load

KINDS: tuple[EvidenceKind, ...] = ("convergence", "paths", "neither")
FORM = """You are a computational biologist who knows single-cell transcriptomics and cell types well.

## Task
Name the most specific cell type of one human {tissue} cell from its genes{and_knowledge}.

## Genes of the cell, the most specific first
{genes}

## Candidate cell types ({count})
{candidates}
{knowledge}
## Rule
Answer with EXACTLY one of the {count} cell types above. Any other answer is invalid.

## Form of the answer
[Predicted_Cell_Type: <your answer>]
"""
_ANSWER = re.compile(r"\[Predicted_Cell_Type:\s*([^\]]+?)\]")


def prompt_of(case: Case, evidence: str, tissue: str, names: Sequence[str]) -> str:
    """Return the one message of a cell."""
    return FORM.format(
        tissue=tissue,
        and_knowledge=" and the knowledge that was found for them" * bool(evidence),
        genes=" ".join(case.symbols),
        count=len(names),
        candidates="\n".join(f"{i}. {name}" for i, name in enumerate(names, start=1)),
        knowledge=f"\n## Knowledge\n{evidence}\n" * bool(evidence),
    )


def predicted(reply: str, names: Sequence[str]) -> str | None:
    """Return the candidate that a reply names; letters and digits alone count."""
    found = _ANSWER.search(reply)
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in names}
    return plain.get(re.sub(r"[^a-z0-9]", "", found[1].lower())) if found else None


@dataclass(frozen=True)
class Form:
    """The questions of one set in the official form, put to one model."""

    client: Model
    tissue: str
    curie: dict[str, str]
    """CL id of each candidate by its name, in the order of the list."""
    connections: int

    def row(self, cases: Sequence[Case], kind: EvidenceKind, budget: int) -> ClaimRow:
        """Ask every cell once with one kind of evidence."""
        counted, started = Counted(self.client), time.perf_counter()
        texts = [evidence_text(case.annotation, kind=kind, budget_tokens=budget) for case in cases]
        prompts = [prompt_of(*pair, self.tissue, list(self.curie)) for pair in zip(cases, texts, strict=True)]

        def answer(prompt: str) -> str | None:
            try:
                said = predicted(counted.complete(prompt).text, list(self.curie))
            except ModelFailure:
                return None
            return None if said is None else self.curie[said]

        curies = tuple(concurrently(answer, prompts, workers=self.connections, model=counted))
        tokens = sum(map(estimate_tokens, texts)) / len(texts)
        lines = sum(len(text.splitlines()) for text in texts) / len(texts)
        result = Result(kind, curies, counted.counters, time.perf_counter() - started)
        return ClaimRow(f"{budget} tokens", kind, tokens, lines, result)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def ask(
    folder: Annotated[Path, typer.Argument(help="Folder of `benchmarks.annotation.stand_in`.")],
    model: Annotated[str, typer.Option(help="Name of the model at the endpoint.")],
    base_url: Annotated[str, typer.Option(help="OpenAI-compatible endpoint.")],
    budget: Annotated[int, typer.Option(help="Most tokens of the evidence.")] = 400,
    connections: Annotated[int, typer.Option(min=1, help="Calls in flight.")] = 8,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds a reply may take.")] = 1800,
    graph: Annotated[Path | None, typer.Option("--graph", "-g", help="Graph folder.")] = None,
) -> None:
    """Print a table for each of the two sets: convergence nodes, paths, no evidence."""
    loaded = load(graph)
    ontology, cache = Ontology.of_cells(loaded), ReplyCache(default_cache_path())
    client = Client(model, base_url=base_url, cache=cache, timeout_s=timeout, max_tokens=128)
    typer.echo(f"{model}, {client.sampling}; graph {loaded.content_hash[:12]}")
    for name in paper_sets():
        listed = read_candidate_names(folder / f"{name}.txt")
        nodes = [ground_cell_types(loaded, [one], where=f"{name}.txt")[0] for one in listed]
        form = Form(client, name, {loaded.names[node]: loaded.ids[node] for node in nodes}, connections)
        cases = sentence_cases(folder / f"{name}.jsonl", limit=100, seed=0, candidates=listed)(loaded)
        typer.echo(f"\n{name}: {len(cases)} cells, {len(nodes)} candidates\n")
        for line in render_claim([form.row(cases, kind, budget) for kind in KINDS], cases, ontology):
            typer.echo(line)


if __name__ == "__main__":
    run(app, "benchmarks.annotation.official_form")
