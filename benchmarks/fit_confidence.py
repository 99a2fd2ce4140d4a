"""``python -m benchmarks.fit_confidence``: fit the confidence on the development split and write
`data/confidence.json`.

Fitted on the development files (label groups and clusters) and on the choosing half of SC-Arena's sentences.
Every question also appears with its genes replaced by random measured ones (drawn by how often they are
detected), for which no answer is right: so that evidence of nothing does not pass for evidence.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from benchmarks.annotation.data_sets import Question, file_questions, sentence_questions
from benchmarks.annotation.scores import Bench
from gather.labelling.decide import Calibration, Labeller, logit
from gather.metrics.labels import score_label
from vckg.base.atomic import write_text
from vckg.base.console import out, run
from vckg.base.resources import resource

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

Floats = npt.NDArray[np.float64]

SHARPNESS = 8.0
THRESHOLD = 0.4
"""On the development sets nothing right is lost above it, and `colon` gains nothing wrong."""
VAGUE = 0.15
RANDOM_WEIGHT = 0.3
"""Weight of a question with random genes."""
SENTENCE_WEIGHT = 0.25
"""Weight of a sentence: 304 of them must not drown some fifty cell sets."""
RIDGE = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """Features of one answer, and whether it was related to the truth."""

    features: tuple[float, float, float]
    right: float
    weight: float
    data_set: str


def samples(bench: Bench, questions: Sequence[Question], *, seed: int = 0) -> list[Sample]:
    """Return each question's sample and that of its random twin."""
    rng = np.random.default_rng(seed)
    start = Calibration(SHARPNESS, 0.0, 1.0, 0.0, 0.0, THRESHOLD, VAGUE)
    labeller = Labeller(bench.ontology, start)
    made = []
    for question in questions:
        weight = SENTENCE_WEIGHT if question.mode == "sentences" else 1.0
        for random in (False, True):
            asked = _with_random_genes(bench, question, rng) if random else question
            features, answer = _features(bench, labeller, asked)
            right = 0.0 if random else score_label(bench.ontology, answer, question.truth).related
            made.append(
                Sample(features, right, weight * (RANDOM_WEIGHT if random else 1.0), question.data_set)
            )
    return made


def _with_random_genes(bench: Bench, question: Question, rng: np.random.Generator) -> Question:
    genes = bench.retriever("calibrated", question.panel).genes
    chance = (
        np.ones(len(genes)) if question.panel is None else question.panel.background(bench.graph.n)[genes]
    )
    drawn = rng.choice(genes, size=len(question.query), replace=False, p=chance / chance.sum())
    return replace(question, query=replace(question.query, genes=drawn.astype(np.int32)))


def _features(bench: Bench, labeller: Labeller, question: Question) -> tuple[tuple[float, float, float], str]:
    retriever = bench.retriever("calibrated", question.panel)
    convergence = retriever.converge([question.query])[0]
    best = labeller.best(convergence, 1)
    if not len(best):
        return (float(logit(np.zeros(1))[0]), 0.0, 0.0), ""
    positions = labeller.positions(convergence)
    belief = labeller.on_line(labeller.spread(convergence.score, positions), positions[best])
    support = retriever.support(question.query)
    features = (float(logit(belief)[0]), float(support.similarity[best[0]]), float(support.share[best[0]]))
    return features, bench.ontology.terms[positions[best[0]]]


def fit(found: Sequence[Sample]) -> Calibration:
    """Return the calibration of least weighted log loss, with a light ridge on the slopes."""
    from scipy.optimize import minimize

    x = np.array([s.features for s in found])
    y, w = np.array([s.right for s in found]), np.array([s.weight for s in found])

    def loss(parameters: Floats) -> float:
        z = parameters[0] + x @ parameters[1:]
        return float((w * (np.logaddexp(0.0, z) - y * z)).sum() + 0.5 * RIDGE * (parameters[1:] ** 2).sum())

    best = minimize(loss, np.zeros(4), method="BFGS")
    intercept, belief, similarity, support = (round(float(v), 4) for v in best.x)
    return Calibration(SHARPNESS, intercept, belief, similarity, support, THRESHOLD, VAGUE)


def left_out_loss(found: Sequence[Sample]) -> float:
    """Mean weighted log loss of each data set under the fit on the others."""
    total = weight = 0.0
    for name in sorted({s.data_set for s in found}):
        model = fit([s for s in found if s.data_set != name])
        for s in (s for s in found if s.data_set == name):
            z = model.intercept + np.dot(s.features, (model.belief, model.similarity, model.support))
            total += s.weight * float(np.logaddexp(0.0, z) - s.right * z)
            weight += s.weight
    return total / weight


def recalibrate(graph: Graph, folder: Path) -> dict[str, Any]:
    """Return what `data/confidence.json` holds after a fit on the development split."""
    questions = [*file_questions(graph, folder), *sentence_questions(graph, folder)]
    chosen = [q for q in questions if q.role in ("development", "choosing half")]
    found = samples(Bench(graph), chosen)
    return {
        "format": "gather-confidence",
        "format_version": 1,
        "command": "python -m benchmarks.fit_confidence --data FOLDER",
        "fitted_on": sorted({f"{q.data_set} ({q.mode})" for q in chosen}),
        "questions": len(chosen),
        "left_out_log_loss": round(left_out_loss(found), 4),
        "parameters": asdict(fit(found)),
    }


def main() -> None:
    """Entry point of ``python -m benchmarks.fit_confidence``."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

    @app.command()
    def calibrate(
        data: Annotated[Path, typer.Option(help="Folder with h5ad/ and scarena/.")],
        graph: Annotated[Path | None, typer.Option(help="Graph folder.")] = None,
    ) -> None:
        """Fit the confidence and write data/confidence.json."""
        import vckg

        stored = recalibrate(vckg.load(graph), data)
        path = resource("data", "confidence.json")
        write_text(path, json.dumps(stored, indent=1) + "\n")
        out().print_json(json.dumps(stored))

    run(app, "benchmarks.fit_confidence")


if __name__ == "__main__":
    main()
