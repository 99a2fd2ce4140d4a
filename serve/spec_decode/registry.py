"""From a name to a proposer: `make_proposer` plugs head, n-grams and prompt lookup into an engine's seam."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from serve.errors import InputError, check_name
from serve.model.decoder import Model
from serve.model.loader import EMBEDDED, Checkpoint, tokenizer_hash
from serve.spec_decode import METHODS
from serve.spec_decode.dart_head import load_head
from serve.spec_decode.head_drafting import DartProposer, EagleProposer, pack
from serve.spec_decode.ngram_trie import Trie
from serve.spec_decode.prompt_lookup import LookupProposer
from serve.spec_decode.proposers import NgramProposer, Sized

HEAD, EAGLE, TRIE = "head.safetensors", "eagle.safetensors", "answers.ngram"


def draft_folder(model_name: str) -> Path | None:
    """Folder of the embedded model's draft files: the checkout's, or the distribution vckg-draft's; else None."""
    if model_name != EMBEDDED:
        return None
    places = [Path(__file__).parents[2] / "draft"]
    spec = importlib.util.find_spec("vckg_draft")
    if spec is not None and spec.submodule_search_locations:
        places.append(Path(next(iter(spec.submodule_search_locations))))
    return next((p for p in places if (p / HEAD).is_file()), None)


def make_proposer(
    method: str,
    checkpoint: Checkpoint,
    model: Model,
    *,
    block_tokens: int,
    folder: Path | None = None,
    nodes: int | None = None,
) -> Sized:
    """Build a proposer for a model.

    Parameters
    ----------
    method
        ``lookup`` (prompt lookup), ``ngram`` (n-gram tree), ``head`` (DART's head with n-gram pruning),
        ``dart`` (head and n-gram tree together), ``eagle`` (autoregressive head).
    folder
        Where ``head.safetensors``, ``eagle.safetensors`` and ``answers.ngram`` lie; the n-grams may be
        missing.
    nodes
        Draft nodes per request; None: as many as pay.

    Raises
    ------
    InputError, ModelError
        for an unknown method, a missing head, or files of another tokenizer.
    """
    check_name("draft method", method, METHODS)
    if method == "lookup":
        return LookupProposer(nodes=nodes)
    known = tokenizer_hash(checkpoint.tokenizer)
    end = min(checkpoint.eos)
    trie = None
    if folder is not None and (folder / TRIE).is_file():
        trie = Trie.load(folder / TRIE, known)
    if method == "ngram":
        return NgramProposer(trie, end, nodes=nodes)
    if folder is None:
        raise InputError(
            f"draft method {method!r} needs a folder with {HEAD}: install the embedded model's "
            "(pip install ./draft in the repository), or train one with vckg-serve train-draft"
        )
    head = load_head(folder / (EAGLE if method == "eagle" else HEAD), known)
    if head.config.autoregressive != (method == "eagle"):
        raise InputError(f"{folder}: the head there is not of the kind that {method!r} needs")
    if head.config.vocabulary != model.dims.vocabulary or head.config.hidden != model.dims.hidden:
        raise InputError(
            f"{folder}: the head is for a model of another size; train one with vckg-serve train-draft"
        )
    kind = EagleProposer if method == "eagle" else DartProposer
    head.requires_grad_(False)
    return kind(
        pack(head) if model.device.type == "cpu" else head.to(model.device),
        model.embedding,
        trie,
        end,
        block_tokens=block_tokens,
        nodes=nodes,
        grams=method == "dart",
    )
