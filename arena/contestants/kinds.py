"""What a contestant is, by what was run and never by the name that the tables show (`arena run --name`)."""

from __future__ import annotations

from typing import cast, get_args

from arena.contestants.baselines import BASELINES
from arena.types import Kind, RunManifest


def kind_of(kind: str, model: str) -> Kind:
    """Return the kind for the leaderboard of a `Contestant.kind` and the run engine's name; baselines have several."""
    if kind == "baseline":
        known = BASELINES.get(model.removeprefix("arena/"))
        return known.kind if known else "model"
    return cast("Kind", kind) if kind in get_args(Kind) else "model"


def kind_of_run(manifest: RunManifest) -> Kind:
    """Return the kind of a run's contestant; a manifest that states none is known by its contestant."""
    ran = manifest.model_args
    return kind_of(str(ran.get("kind", "baseline")), str(ran.get("model", manifest.contestant)))


def reads_graph(kind: Kind) -> bool:
    """Whether a contestant looks into the graph to answer: retrieval, alone or before a model, and marker lists."""
    return kind in ("retrieval", "retrieval+model", "model+tools", "baseline")
