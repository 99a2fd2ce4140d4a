"""Who may answer: models by the run engine's names, any OpenAI-compatible URL, retrieval alone, retrieval
with a model, and baselines that pass through the same pipeline.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from arena.contestants.baselines import BASELINES
from arena.contestants.kinds import kind_of, reads_graph
from arena.tasks import OWN, TASKS
from arena.types import TaskName
from vckg.base.errors import InputError, did_you_mean

ENDPOINT = "endpoint"
"""Provider of models behind the OpenAI-compatible URL of ``--base-url``, see `arena.runner.inspect_models`."""

EVIDENCE, WITH_TOOLS = "gather+", "tools+"
RETRIEVAL = "gather"
RETRIEVAL_TASKS: tuple[TaskName, ...] = tuple(task for task in TASKS if task not in OWN)
"""The tasks that the graph alone answers."""
REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One row of the leaderboard, resolved from what the user wrote."""

    name: str
    """What the tables show."""
    model: str
    """Name for the run engine."""
    kind: str
    """``model``, ``retrieval``, ``retrieval+model``, ``model+tools``, ``baseline`` or ``replay``."""
    tasks: tuple[TaskName, ...]
    """Those it can take part in."""
    evidence: bool = False
    """Retrieved evidence stands before the question."""
    tools: bool = False
    """It may call the graph's tools (`arena.contestants.graph_tools`)."""
    base_url: str = ""
    args: dict[str, Any] = field(default_factory=dict)
    content: str = ""
    """Hash of the file of answers that it replays; other answers are another run."""

    @property
    def slug(self) -> str:
        """The name as a folder's."""
        return re.sub(r"[^A-Za-z0-9.+-]+", "-", self.name).strip("-.") or "model"

    @property
    def reads_graph(self) -> bool:
        """Whether it reads the graph that parts of the fresh set come from."""
        return reads_graph(kind_of(self.kind, self.model))


def resolve(spec: str, *, base_url: str = "", name: str = "") -> Contestant:
    """The contestant a ``--model`` argument means.

    Parameters
    ----------
    spec
        ``gather``, ``gather+MODEL``, ``tools+MODEL``, a baseline's name, ``replay:FILE``, or a model. A model is a name
        of the run engine (``openai/gpt-4o-mini``, ``hf/...``, ``ollama/...``), or, with `base_url`, whatever
        that server calls it.
    base_url
        Of an OpenAI-compatible server.
    name
        Shown instead of the spec.

    Raises
    ------
    InputError
        Nobody is called so, or the model's name has no provider and no URL is given.
    """
    spec = spec.strip()
    if spec == RETRIEVAL:
        return Contestant(name or spec, f"arena/{spec}", "retrieval", RETRIEVAL_TASKS)
    if spec in BASELINES:
        return Contestant(name or spec, f"arena/{spec}", "baseline", BASELINES[spec].tasks)
    if spec.startswith(f"{REPLAY}:"):
        return _replay(spec, name)
    evidence, tools = spec.startswith(EVIDENCE), spec.startswith(WITH_TOOLS)
    wanted = spec.removeprefix(EVIDENCE).removeprefix(WITH_TOOLS)
    if not wanted:
        raise InputError(f"--model {spec!r} names no model; write gather, gather+MODEL or tools+MODEL")
    kind = "retrieval+model" if evidence else "model+tools" if tools else "model"
    if base_url:
        _plain_url(base_url)
        model = f"{ENDPOINT}/{wanted}"
    else:
        _known_provider(wanted)
        model = wanted
    return Contestant(name or spec, model, kind, TASKS, evidence=evidence, tools=tools, base_url=base_url)


def _plain_url(base_url: str) -> None:
    """A URL is written into the run; what is secret in it would be too."""
    shown = base_url.rpartition("@")[2].partition("?")[0]
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError as error:
        raise InputError(f"--base-url {shown!r}: {error}; wanted http://HOST:PORT/v1") from None
    if not usable:
        raise InputError(f"--base-url {shown!r}: wanted http://HOST:PORT/v1")
    if parts.username or parts.password or parts.query:
        raise InputError(
            f"--base-url of {parts.hostname}: it carries a user, a password or a query, which would be written "
            "into the run; put the key into OPENAI_API_KEY"
        )


def _known_provider(model: str) -> None:
    provider, slash, rest = model.partition("/")
    known = (RETRIEVAL, *BASELINES, f"{REPLAY}:FILE")
    if not slash:
        raise InputError(
            f"no contestant {model!r}{did_you_mean(model, known)}; a model is PROVIDER/NAME (openai/gpt-4o-mini, "
            f"ollama/llama3.2, hf/ORG/NAME), or any name with --base-url; `arena list` shows the others"
        )
    known = providers()
    if provider not in known or not rest:
        raise InputError(
            f"no model provider {provider!r}{did_you_mean(provider, known)}; known: {', '.join(known)}"
        )


def providers() -> tuple[str, ...]:
    """Return the prefixes of the run engine's model names, those of other packages' providers included.

    ``hf/...`` also loads domain models such as Cell2Sentence.
    """
    import inspect_ai.model  # noqa: F401  registers the engine's own
    from inspect_ai._util.entrypoints import ensure_entry_points
    from inspect_ai._util.registry import registry_find, registry_info, registry_unqualified_name

    ensure_entry_points()
    found = map(registry_info, registry_find(lambda info: info.type == "modelapi"))
    return tuple(sorted({registry_unqualified_name(info) for info in found} - {"arena", ENDPOINT, "none"}))


def _replay(spec: str, name: str) -> Contestant:
    path = Path(spec.partition(":")[2])
    if not path.is_file():
        raise InputError(f"{path}: no file of answers to replay; wanted JSON lines with sample_id and text")
    return Contestant(
        name or f"replay {path.stem}",
        "arena/replay",
        "replay",
        TASKS,
        args={"answers": str(path)},
        content=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
