"""From a name to a proposer: `make_proposer` plugs head, n-grams and prompt lookup into an engine's seam."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from serve.errors import InputError, check_name
from serve.model.decoder import Model
from serve.model.loader import EMBEDDED, Checkpoint, tokenizer_hash
from serve.spec_decode import METHODS
from serve.spec_decode.dart_head import DraftHead, load_head
from serve.spec_decode.head_drafting import DartProposer, pack
from serve.spec_decode.ngram_trie import Trie
from serve.spec_decode.prompt_lookup import LookupProposer
from serve.spec_decode.proposers import NgramProposer, Sized

HEAD, TRIE = "head.safetensors", "answers.ngram"


def draft_folder(model_name: str) -> Path | None:
    """Folder of the embedded model's draft files: the checkout's, or the distribution vckg-draft's; else None."""
    if model_name != EMBEDDED:
        return None
    places = [Path(__file__).parents[2] / "draft"]
    spec = importlib.util.find_spec("vckg_draft")
    if spec is not None and spec.submodule_search_locations:
        places.append(Path(next(iter(spec.submodule_search_locations))))
    return next((p for p in places if (p / HEAD).is_file()), None)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a proposer is made from; `make_proposer` describes the fields."""

    checkpoint: Checkpoint
    model: Model
    block_tokens: int
    folder: Path | None
    nodes: int | None

    def trie(self) -> Trie | None:
        """Return the n-grams of the folder; None where there are none."""
        if self.folder is None or not (self.folder / TRIE).is_file():
            return None
        return Trie.load(self.folder / TRIE, tokenizer_hash(self.checkpoint.tokenizer))


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
        ``dart`` (head and n-gram tree together).
    folder
        Where ``head.safetensors`` and ``answers.ngram`` lie; the n-grams may be missing.
    nodes
        Draft nodes per request; None: as many as pay.

    Raises
    ------
    InputError, ModelError
        for an unknown method, a missing head, or files of another tokenizer.
    """
    check_name("draft method", method, METHODS)
    module, function = METHODS[method].split(":")
    make: Callable[[Setting], Sized] = getattr(import_module(f"serve.spec_decode.{module}"), function)
    return make(Setting(checkpoint, model, block_tokens, folder, nodes))


def make_lookup(setting: Setting) -> Sized:
    """Return prompt lookup."""
    return LookupProposer(nodes=setting.nodes)


def make_ngram(setting: Setting) -> Sized:
    """Return the n-gram tree."""
    return NgramProposer(setting.trie(), min(setting.checkpoint.eos), nodes=setting.nodes)


def make_head(setting: Setting, *, grams: bool = False) -> Sized:
    """Return DART's head with n-gram pruning, and with `grams` the n-gram tree too."""
    if setting.folder is None:
        raise InputError(
            f"draft method {'dart' if grams else 'head'!r} needs a folder with {HEAD}: install the embedded model's "
            "(pip install ./draft in the repository), or train one with vckg-serve train-draft"
        )
    return DartProposer(
        find_head(setting.folder / HEAD, setting.checkpoint, setting.model),
        setting.model.embedding,
        setting.trie(),
        min(setting.checkpoint.eos),
        block_tokens=setting.block_tokens,
        nodes=setting.nodes,
        grams=grams,
    )


def make_dart(setting: Setting) -> Sized:
    """Return DART: its head and the n-gram tree together."""
    return make_head(setting, grams=True)


def find_head(path: Path, checkpoint: Checkpoint, model: Model, *, autoregressive: bool = False) -> DraftHead:
    """Read a head for a model, ready to draft on its device.

    Raises
    ------
    InputError, ModelError
        if it is missing, of another kind, or for another model.
    """
    head = load_head(path, tokenizer_hash(checkpoint.tokenizer))
    if head.config.autoregressive != autoregressive:
        raise InputError(f"{path}: the head is of another kind; train one with vckg-serve train-draft")
    if head.config.vocabulary != model.dims.vocabulary or head.config.hidden != model.dims.hidden:
        raise InputError(
            f"{path}: the head is for a model of another size; train one with vckg-serve train-draft"
        )
    head.requires_grad_(False)
    return pack(head) if model.device.type == "cpu" else head.to(model.device)
