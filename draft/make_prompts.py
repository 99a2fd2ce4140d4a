"""Write the prompts that the embedded model answers to teach its draft head, and the held-out ones that
measure it.

Four workloads of the project's kinds, from openly licensed facts only: the Cell Ontology's names,
definitions and hierarchy (CC BY 4.0, from the package cellxgene-ontology-guide), GO term names (CC BY 4.0)
and Reactome set names with their genes (CC0). No benchmark item is used: every Cell Ontology term that the
benchmark's cell sentences name is left out (`--exclude`), and the held-out prompts are about cell types that
no training prompt is about (it may name them as a sibling).

    python draft/make_prompts.py --mirror FOLDER --each 2000 --out prompts.jsonl --heldout
    draft/heldout.jsonl
"""

from __future__ import annotations

import argparse
import gzip
import importlib.resources
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Facts:
    """What the prompts are made of."""

    names: dict[str, str]
    definitions: dict[str, str]
    parents: dict[str, list[str]]
    siblings: dict[str, list[str]]
    processes: list[str]
    sets: list[tuple[str, list[str]]]


def cell_types(excluded: set[str]) -> dict[str, dict[str, Any]]:
    """Live Cell Ontology terms that have a definition, without the excluded ones."""
    name = "data/CL-ontology-v2026-03-26.json.zst"
    packed = importlib.resources.files("cellxgene_ontology_guide").joinpath(name).read_bytes()
    terms = json.loads(zstandard.ZstdDecompressor().decompressobj().decompress(packed))
    return {
        curie: term
        for curie, term in terms.items()
        if curie.startswith("CL:")
        and not term["deprecated"]
        and term.get("description")
        and curie not in excluded
    }


def read_facts(mirror: Path, excluded: set[str]) -> Facts:
    """Read the three sources."""
    cells = cell_types(excluded)
    parents = {
        c: sorted(p for p, d in t["ancestors"].items() if d == 1 and p in cells) for c, t in cells.items()
    }
    children: dict[str, list[str]] = {}
    for cell, above in parents.items():
        for parent in above:
            children.setdefault(parent, []).append(cell)
    siblings = {c: sorted({s for p in above for s in children[p]} - {c}) for c, above in parents.items()}
    with gzip.open(
        mirror / "annotation" / "go_human_genes_pathfindR_2024.tsv.gz", "rt", encoding="utf-8"
    ) as lines:
        rows = (line.rstrip("\n").split("\t") for line in lines)
        processes = sorted({row[1] for row in rows if row[2] == "Process"})
    sets = []
    for line in (
        (mirror / "annotation" / "reactome_pathfindR_2024.gmt").read_text(encoding="utf-8").splitlines()
    ):
        _, name, *genes = line.split("\t")
        if len(genes) >= 8:
            sets.append((name, genes))
    return Facts(
        names={c: t["label"] for c, t in cells.items()},
        definitions={c: t["description"] for c, t in cells.items()},
        parents=parents,
        siblings=siblings,
        processes=processes,
        sets=sets,
    )


ANNOTATION = (
    "You name the cell type of a cluster of single cells. You are given its marker genes and evidence from a "
    "knowledge graph. Choose only among the candidates. Cite the evidence lines you used by their number."
)
JUDGE = (
    "You grade an answer about cell biology against a reference. Say what the answer has right, what it has "
    "wrong and what it leaves out, then end with one line [Score: k], k from 0 (wrong) to 5 (complete and right)."
)
QA = "You answer questions about cell biology from the passage given. If the passage does not say, say so."


def annotation(facts: Facts, cell: str, rng: random.Random) -> Messages:
    """A gather-like request: ranked genes, numbered evidence, candidates."""
    candidates = [cell, *rng.sample(facts.siblings[cell], min(3, len(facts.siblings[cell])))]
    rng.shuffle(candidates)
    picked = rng.sample(facts.sets, 2)
    genes = [g for _, members in picked for g in rng.sample(members, 6)]
    rng.shuffle(genes)
    evidence = [f"{name}: {', '.join(g for g in genes if g in members)}" for name, members in picked]
    evidence.append(f"{facts.names[cell]}: {facts.definitions[cell][:220]}")
    lines = "\n".join(f"[{i}] {text}" for i, text in enumerate(evidence, 1))
    listed = "\n".join(f"- {facts.names[c]} ({c})" for c in candidates)
    ask = rng.choice(
        [
            "Give the cell type and explain the choice in three sentences.",
            "Answer in JSON with the keys cell_type, confidence and rationale.",
            "Rank the candidates and give one reason for each.",
        ]
    )
    user = f"Markers: {', '.join(genes)}\nEvidence:\n{lines}\nCandidates:\n{listed}\n{ask}"
    return [{"role": "system", "content": ANNOTATION}, {"role": "user", "content": user}]


def judging(facts: Facts, cell: str, rng: random.Random) -> Messages:
    """An arena-like request: a reference, an answer that is right, partial or about a neighbour."""
    definition = facts.definitions[cell]
    kind = rng.randrange(3)
    other = rng.choice(facts.siblings[cell] or [cell])
    answer = {0: definition, 1: definition.split(",")[0] + ".", 2: facts.definitions[other]}[kind]
    user = (
        f"Question: What is a {facts.names[cell]}?\nReference: {definition[:400]}\nAnswer: {answer[:400]}\n"
        "Grade the answer."
    )
    return [{"role": "system", "content": JUDGE}, {"role": "user", "content": user}]


def question(facts: Facts, cell: str, rng: random.Random) -> Messages:
    """A question over a passage."""
    name = facts.names[cell]
    near = rng.choice(facts.siblings[cell] or [cell])
    process = rng.choice(facts.processes)
    ask = rng.choice(
        [
            f"What distinguishes a {name} from other cells?",
            f"How does a {name} differ from a {facts.names[near]}?",
            f"Which properties of the {name} does the passage name? List them.",
            f"Could a {name} take part in {process}? Explain.",
            f"Summarise the passage on the {name} in two sentences.",
        ]
    )
    passage = f"{name}: {facts.definitions[cell][:400]}\n{facts.names[near]}: {facts.definitions[near][:300]}"
    return [
        {"role": "system", "content": QA},
        {"role": "user", "content": f"Passage:\n{passage}\n\nQuestion: {ask}"},
    ]


def chat(facts: Facts, cell: str, rng: random.Random) -> Messages:
    """Free chat, without a system prompt of ours."""
    process, name, pathway = rng.choice(facts.processes), facts.names[cell], rng.choice(facts.sets)[0]
    ask = rng.choice(
        [
            f"Explain {process} to a school pupil.",
            f"What is a {name} and why does it matter?",
            f"Write a short e-mail to a colleague who wants to study the {name}.",
            f"Give me five questions an examiner could ask about {pathway}.",
            f"I read about {pathway} today. Can you tell me more about it?",
            f"Write a short story about a scientist who works on {process}.",
            f"What experiments could show that a {name} takes part in {process}?",
            f"List three diseases in which {process} may go wrong, and say why.",
        ]
    )
    return [{"role": "user", "content": ask}]


WORKLOADS: dict[str, Callable[[Facts, str, random.Random], Messages]] = {
    "annotation": annotation,
    "judging": judging,
    "qa": question,
    "chat": chat,
}


def prompts(facts: Facts, cells: list[str], each: int, seed: int) -> Iterator[dict[str, object]]:
    """`each` prompts of every workload, the workloads in turn."""
    rng = random.Random(seed)
    for number in range(each):
        for workload, make in WORKLOADS.items():
            cell = rng.choice(cells)
            yield {
                "id": f"{workload}-{seed}-{number}",
                "workload": workload,
                "messages": make(facts, cell, rng),
            }


def write(path: Path, rows: Iterator[dict[str, object]]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mirror", type=Path, required=True, help="folder of source files (docs/sources.md)")
    parser.add_argument("--each", type=int, default=2000, help="training prompts per workload")
    parser.add_argument("--out", type=Path, required=True, help="training prompts, JSONL")
    parser.add_argument("--heldout", type=Path, required=True, help="50 held-out prompts per workload, JSONL")
    parser.add_argument("--exclude", type=Path, help="JSONL whose `cell_ontology_id`s no prompt may be about")
    args = parser.parse_args()
    excluded = set()
    if args.exclude:
        excluded = {
            json.loads(line)["cell_ontology_id"] for line in args.exclude.read_text("utf-8").splitlines()
        }
    facts = read_facts(args.mirror, excluded)
    cells = sorted(facts.names)
    random.Random(0).shuffle(cells)
    heldout, training = cells[:150], cells[150:]
    write(args.out, prompts(facts, training, args.each, seed=1))
    write(args.heldout, prompts(facts, heldout, 50, seed=2))


if __name__ == "__main__":
    main()
