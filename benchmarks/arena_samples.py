"""Are the samples of the fresh set worth asking: ``python -m benchmarks.arena_samples``.

Prints, as Markdown, what an oracle, the reference, blind baselines, an echo of the prompt, a half-right answer and
the best trick score on each task, the samples by stratum, what was rejected, and samples as a model sees them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import vckg
from arena.contestants import baselines
from arena.contestants.gather import markers_by_type
from arena.datasets import fresh
from arena.judging.ladder import ladder
from arena.judging.tricks import tricks
from arena.scoring import metrics
from arena.scoring.grounding import names_of
from arena.tasks import TASKS, read_reply, render
from arena.tasks.samples import limited, make_samples
from arena.types import Answer, Sample
from vckg.build.fetch import default_mirrors
from vckg.graph.graph import Graph

Parsed = Mapping[str, Any] | None


def value(sample: Sample, parsed: Parsed, graph: Graph) -> float:
    """Return the main score of an answer."""
    answer = Answer(sample.id, "x", sample.task, "", parsed, parsed is not None, False)
    scores = {s.dimension: s.value for s in metrics.score(sample, answer, graph)}
    return scores[metrics.HEADLINE[sample.task]] or 0.0


def mean(samples: Sequence[Sample], answer: Callable[[Sample], Parsed], graph: Graph) -> float:
    """Return the mean main score of the answers that a function gives."""
    return sum(value(s, answer(s), graph) for s in samples) / len(samples)


def echo(sample: Sample) -> Parsed:
    """Return the prompt as an answer."""
    words = render(sample).split()
    answers: dict[str, dict[str, Any]] = {
        "annotation": {"cell_type": " ".join(words)},
        "captioning": {"caption": " ".join(words)},
        "generation": {"genes": [w.strip(".,:;()") for w in words]},
        "perturbation": {
            "up": sample.fields.get("candidates", []),
            "down": sample.fields.get("candidates", []),
        },
        "qa": {"answer": " ".join(words)},
    }
    return answers[sample.task]


def half_right(sample: Sample, graph: Graph) -> Parsed:
    """Return an answer that is half right: kin of the type, the type alone, half of the genes or facts."""
    if sample.task == "captioning":
        return {"caption": f"This is a {sample.gold['cell_type']}."}
    rungs = {rung.name: rung.parsed for rung in ladder(sample, graph)}
    return rungs.get("half") or rungs.get("sibling") or rungs.get("parent")


def baseline(name: str, samples: Sequence[Sample], graph: Graph) -> Callable[[Sample], Parsed]:
    """Return the answers of a baseline."""
    peers = baselines.Peers({s.id: s for s in samples}, lambda: markers_by_type(graph))
    return lambda sample: read_reply(sample.task, baselines.reply(name, sample, peers))[0]


def best_trick(samples: Sequence[Sample], graph: Graph) -> tuple[float, str]:
    """Return the highest mean of a trick, and its name."""
    totals: dict[str, list[float]] = {}
    for sample in samples:
        for trick, parsed in tricks(sample, names_of(graph)).items():
            totals.setdefault(trick, []).append(value(sample, parsed, graph))
    means = {trick: sum(found) / len(found) for trick, found in totals.items()}
    best = max(means, key=lambda t: means[t])
    return means[best], best


def table(made: fresh.Fresh, samples: Mapping[str, list[Sample]], graph: Graph, tricked: int) -> str:
    """Return the table of checks."""
    named = {f"fresh/annotation/{item}": cl_id for item, cl_id in made.admission.oracle.items()}
    lines = [
        "| task | samples (clusters) | oracle | reference | answers that ignore the cell | echo of the prompt "
        "| half right | best trick |",
        "|---|--:|--:|--:|---|--:|--:|---|",
    ]
    for task, listed in samples.items():
        oracle = "–"
        if task == "annotation":
            right = sum(named[s.id] == s.gold["cl_id"] for s in listed) / len(listed)
            lin = mean(listed, lambda s: {"cell_type": graph.node(graph.index(named[s.id])).name}, graph)
            oracle = f"{right:.3f} right, {lin:.3f}"
        trivial = [
            n for n, b in sorted(baselines.BASELINES.items()) if b.kind == "trivial" and task in b.tasks
        ]
        blind = {n: mean(listed, baseline(n, listed, graph), graph) for n in trivial}
        floors = ", ".join(f"{n} {v:.3f}" for n, v in sorted(blind.items(), key=lambda nv: -nv[1]))
        trick, name = best_trick(limited(listed, 0, tricked), graph)
        lines.append(
            f"| {task} | {len(listed)} ({len({s.cluster for s in listed})}) | {oracle} "
            f"| {mean(listed, baseline('gold', listed, graph), graph):.3f} | {floors} "
            f"| {mean(listed, echo, graph):.3f} | {mean(listed, lambda s: half_right(s, graph), graph):.3f} "
            f"| {trick:.3f}, {name} |"
        )
    return "\n".join(lines)


def strata(samples: Mapping[str, list[Sample]]) -> str:
    """Return the number of samples by stratum; captioning, which asks about the cells of annotation, has its strata."""
    lines = ["| task | stratum | samples |", "|---|---|---|"]
    for task, listed in samples.items():
        if task == "captioning":
            continue
        for key in listed[0].strata:
            counts = Counter(s.strata.get(key, "") for s in listed).most_common()
            lines.append(f"| {task} | {key} | {', '.join(f'{level} {n}' for level, n in counts)} |")
    return "\n".join(lines)


def shown(samples: Mapping[str, list[Sample]], each: int, longest: int = 60) -> str:
    """Return samples as a model sees them, gene lists cut, with their reference."""
    parts = []
    for listed in samples.values():
        for sample in limited(listed, 0, each):
            prompt = "\n".join(_cut(line, longest) for line in render(sample).splitlines())
            parts.append(
                f"`{sample.id}`\n\n```text\n{prompt}\n```\n\nReference: {_reference(sample, longest)}\n"
            )
    return "\n".join(parts)


def _cut(line: str, longest: int) -> str:
    words = line.split()
    return line if len(words) <= longest else f"{' '.join(words[:longest])} ... ({len(words)} words)"


def _reference(sample: Sample, longest: int) -> str:
    gold = sample.gold
    if sample.task == "perturbation":
        return f"up {', '.join(gold['up'])}; down {', '.join(gold['down'])}"
    if sample.task == "generation":
        return f"{_cut(' '.join(gold['sentences'][0]), longest // 2)}; telling genes {', '.join(gold['markers'][:12])}"
    return str(gold.get("caption") or gold.get("cell_type") or gold.get("answer"))


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--tricked", type=int, default=40, help="samples of each task that the tricks are tried on"
    )
    parser.add_argument("--examples", type=int, default=3, help="samples of each task to print")
    chosen = parser.parse_args()
    graph = vckg.load()
    made = fresh.make(graph, seed=chosen.seed, mirrors=default_mirrors())
    samples = make_samples(made.cells, TASKS, seed=chosen.seed, limit=None)
    print(f"Graph {graph.content_hash[:12]}, seed {chosen.seed}.\n")
    print(table(made, samples, graph, chosen.tricked), "\n")
    print(strata(samples), "\n")
    sets = Counter(c.provenance["set"] for c in made.cells if c.id in made.admission.oracle)
    print(f"{len(sets)} data sets: {', '.join(f'{name} {n}' for name, n in sorted(sets.items()))}.\n")
    print(
        "Rejected classes:", "; ".join(f"{why} {n}" for why, n in made.admission.rejected.most_common()), "\n"
    )
    left_out = made.admission.uninformative
    print(
        f"Mitochondrial or ribosomal genes that are no markers of a type to generate: {sum(left_out.values())}.\n"
    )
    print(shown(samples, chosen.examples))


if __name__ == "__main__":
    main()
