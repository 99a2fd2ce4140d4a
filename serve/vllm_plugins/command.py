"""`vckg-serve export-vllm`: the model and its draft head as vLLM loads them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from serve.command_app import note
from serve.errors import InputError


def export_vllm(
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder to write: `model` (where the model was a GGUF file), `draft`."
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", help="Hugging Face folder or .gguf file; default: the embedded model."),
    ] = None,
    draft_folder: Annotated[
        Path | None, typer.Option(help="Folder with head.safetensors; the embedded model has its own.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 (for CPUs), bfloat16 or float16.")] = "float32",
) -> None:
    """Write the model, and its DART head in the parallel-drafting form, as folders for vLLM; print how to start it."""
    from serve.model.loader import load_checkpoint, tokenizer_hash

    if dtype not in ("float32", "float16", "bfloat16"):
        raise InputError(f"--dtype {dtype!r}; wanted float32, bfloat16 or float16")
    from serve.spec_decode.dart_head import load_head
    from serve.spec_decode.registry import HEAD
    from serve.spec_decode.registry import draft_folder as shipped
    from serve.vllm_plugins.export import write_draft, write_model

    checkpoint = load_checkpoint(model)
    folder = draft_folder or shipped(checkpoint.name)
    served = checkpoint.path
    if served.suffix == ".gguf":
        served = output / "model"
        write_model(checkpoint, served, dtype)
        note(f"{served}: {checkpoint.name}, {dtype}")
    drafting: dict[str, object] = {}
    if folder is not None:
        head = load_head(folder / HEAD, tokenizer_hash(checkpoint.tokenizer))
        write_draft(head, checkpoint, output / "draft", dtype)
        note(f"{output / 'draft'}: head of depth {head.config.depth}")
        drafting = {
            "method": "eagle3",
            "model": str(output / "draft"),
            "parallel_drafting": True,
            "num_speculative_tokens": head.config.depth,
        }
    extra = f" --speculative-config '{json.dumps(drafting)}'" if drafting else ""
    sys.stdout.write(
        f"vllm serve {served} --dtype {dtype} --scheduling-policy priority "
        f"--scheduler-cls serve.vllm_plugins.scheduler.EchoScheduler{extra}\n"
    )
