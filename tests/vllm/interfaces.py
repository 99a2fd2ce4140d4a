"""Static check of vLLM's interfaces: ``python -m tests.vllm.interfaces FOLDER ...``; each folder holds ``vllm/``.

It reads the plugins and vLLM's source, and runs neither. For every name that a plugin imports from vLLM, takes from an
object of vLLM's or overrides it says whether that version has it, and for overridden methods whether the parameters
that the plugin passes on are still accepted. What a name means there is not checked.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PLUGINS = Path(__file__).parents[2] / "serve" / "vllm_plugins"
#: Variable of a plugin to the module and class of vLLM's that it holds.
HELD = {
    ("scheduler", "request"): ("vllm.v1.request", "Request"),
    ("scheduler", "pool"): ("vllm.v1.core.block_pool", "BlockPool"),
    ("goodput", "request"): ("vllm.v1.engine", "EngineCoreRequest"),
    ("goodput", "output"): ("vllm.v1.engine", "EngineCoreOutput"),
    ("goodput", "processor"): ("vllm.v1.engine.output_processor", "OutputProcessor"),
    ("goodput", "FinishReason"): ("vllm.v1.engine", "FinishReason"),
    ("scheduler", "RequestStatus"): ("vllm.v1.request", "RequestStatus"),
    ("scheduler", "SchedulingPolicy"): ("vllm.v1.core.sched.request_queue", "SchedulingPolicy"),
}
#: Methods that vLLM calls on our classes, or that ours replace.
CALLED = {
    ("vllm.v1.metrics.loggers", "AggregateStatLoggerBase"): ("record", "log", "log_engine_initialized"),
    ("vllm.v1.engine.output_processor", "OutputProcessor"): (
        "add_request",
        "process_outputs",
        "abort_requests",
    ),
    ("vllm.entrypoints.openai.chat_completion.protocol", "ChatCompletionRequest"): ("to_sampling_params",),
}


def module(root: Path, name: str) -> ast.Module | None:
    """A module's syntax; None where it is not there."""
    path = root.joinpath(*name.split("."))
    found = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
    return ast.parse(found.read_text(encoding="utf-8")) if found.is_file() else None


def members(root: Path, where: str, name: str) -> set[str]:
    """Names of a class: its own and inherited methods, class attributes, and what it sets on `self`."""
    tree = module(root, where)
    classes = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)} if tree else {}
    if tree is None or name not in classes:
        return set()
    found: set[str] = set()
    for node in ast.walk(classes[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    for base in classes[name].bases:
        if isinstance(base, ast.Name):
            found |= members(root, where if base.id in classes else imported(tree, base.id), base.id)
    return found


def imported(tree: ast.Module, name: str) -> str:
    """Module from which a name is imported; "" where from none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return node.module or ""
    return ""


def used(tree: ast.Module, variable: str) -> set[str]:
    """Attributes that a plugin takes from a variable."""
    return {
        n.attr
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == variable
    }


def missing(root: Path) -> Iterator[tuple[str, str]]:
    """What the plugins use and this vLLM lacks: (plugin, name)."""
    for plugin in ("scheduler", "goodput"):
        tree = ast.parse((PLUGINS / f"{plugin}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vllm"):
                there = module(root, node.module or "")
                names = {getattr(n, "name", "") for n in there.body} if there else set()
                yield from ((plugin, f"{node.module}.{a.name}") for a in node.names if a.name not in names)
        for (own, variable), (where, name) in HELD.items():
            if own == plugin:
                lacking = used(tree, variable) - members(root, where, name) - {"value"}
                yield from ((plugin, f"{name}.{attribute}") for attribute in sorted(lacking))
    tree = ast.parse((PLUGINS / "scheduler.py").read_text(encoding="utf-8"))
    (own,) = (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef))
    ours = {n.name for n in ast.walk(own) if isinstance(n, ast.FunctionDef)}
    ours |= {n.attr for n in ast.walk(own) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    theirs = members(root, "vllm.v1.core.sched.async_scheduler", "AsyncScheduler")
    for attribute in sorted(used(own, "self") - ours - theirs):
        yield "scheduler", f"AsyncScheduler.{attribute}"
    for name in (
        "schedule",
        "add_request",
        "update_from_output",
        "_update_after_schedule",
        "_update_request_with_output",
    ):
        if name not in theirs:
            yield "scheduler", f"AsyncScheduler.{name}"
    for (where, kind), names in CALLED.items():
        yield from (("goodput", f"{kind}.{n}") for n in names if n not in members(root, where, kind))


def main() -> None:
    """Print what is missing in each; exit 1 where anything is."""
    wrong = 0
    for folder in map(Path, sys.argv[1:]):
        lacks = list(missing(folder))
        wrong += len(lacks)
        sys.stdout.write(f"{folder}: {len(lacks)} names missing\n")
        sys.stdout.writelines(f"  {plugin}: {name}\n" for plugin, name in lacks)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
