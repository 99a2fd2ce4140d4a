"""What `mkdocs build` adds to the pages that are written: references from the code, results, formulas as MathML.

Command-line reference: one page a command, from its typer application. API reference: one page a package, a
mkdocstrings directive for each public module. Results: every page of `docs/results`, so that none is forgotten.
"""

from __future__ import annotations

import html
import importlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
COMMANDS = {"vckg": "vckg.cli", "gather": "gather.cli", "arena": "arena.cli", "vckg-serve": "serve.cli"}
#: Modules whose names are meant to be used from Python.
API = {
    "vckg": (
        "build.default_graph",
        "graph.graph",
        "graph.grounding",
        "graph.metapaths",
        "graph.statements",
        "graph.subgraph",
        "quality.audit",
        "quality.diff",
        "export.export",
        "export.networks",
        "base.errors",
    ),
    "gather": (
        "cells.adata",
        "cells.options",
        "cells.results",
        "checking.check",
        "checking.opinion",
        "annotation",
        "labelling.explain",
        "labelling.annotator",
        "retrieval.query",
        "retrieval.scores",
        "retrieval.evidence_weights",
        "llm.label",
        "pl",
    ),
    "arena": (
        "types",
        "tasks.task",
        "contestants.resolve",
        "scoring.metrics",
        "judging.rubric",
        "leaderboard.build",
        "leaderboard.ranking",
        "leaderboard.statistics",
    ),
    "serve": (
        "engine.engine",
        "request",
        "scheduling.scheduler",
        "echo.scheduler",
        "spec_decode.proposer",
        "kv_cache.paged_kv",
        "kv_cache.prefix_cache",
        "goodput",
        "errors",
    ),
}
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
#: mkdocs says which pages are in no navigation; the pages made here are in it.
log = logging.getLogger("mkdocs.hooks")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the navigation: results as they lie in the folder, references as they are made."""
    results = sorted((Path(config.docs_dir) / "results").glob("*.md"))
    pages = {
        "Results": [{_title(path): f"results/{path.name}"} for path in results],
        "Reference": [
            {"Commands": [{name: f"reference/cli/{name}.md"} for name in COMMANDS]},
            {"Python": [{name: f"reference/api/{name}.md"} for name in API]},
        ],
    }
    assert config.nav is not None
    for entry in config.nav:
        for name, made in pages.items():
            if name in entry:
                entry[name] = made
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made: references, and CONTRIBUTING.md of the repository."""
    made = {f"reference/cli/{name}.md": "\n".join(cli_page(name)) for name in COMMANDS}
    made |= {f"reference/api/{package}.md": api_page(package) for package in API}
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    made["contributing.md"] = contributing.replace("](docs/", "](")
    for uri, content in made.items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_content(html_text: str, **_: Any) -> str:
    """Replace formulas by MathML, which browsers draw by themselves."""

    def drawn(found: re.Match[str]) -> str:
        formula = html.unescape(found[2]).strip()
        if found[1] == "span":
            return convert(formula)
        return f'<div class="formula" tabindex="0">{convert(formula, display="block")}</div>'

    return FORMULA.sub(drawn, html_text)


def on_post_page(output: str, **_: Any) -> str:
    """Name the search for readers who hear the page, and let what scrolls be reached by keyboard."""
    named = output.replace('role="dialog"', 'role="dialog" aria-label="Search"')
    return named.replace("<pre>", '<pre tabindex="0">')


def _title(page: Path) -> str:
    found = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else page.stem


def api_page(package: str) -> str:
    """Return a page with a directive for each public module of a package."""
    modules = [f"{package}.{name}" for name in API[package]]
    return "\n\n".join([f"# `{package}` from Python", *(f"::: {module}" for module in modules)])


def cli_page(name: str) -> Iterator[str]:
    """Yield the lines of a command's page."""
    command = typer.main.get_command(importlib.import_module(COMMANDS[name]).app)
    yield from (f"# `{name}`", "", str(command.help), "")
    yield "Every command takes `--quiet` (`-q`) and `--help` (`-h`); a mistake of the user's is one line on stderr and exit code 2."
    yield f"`{name} --install-completion` teaches your shell its sub-commands and options."
    for words, sub in _leaves(name, command):
        yield from _command(words, sub)


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    for word, sub in getattr(command, "commands", {}).items():
        if hasattr(sub, "commands"):
            yield from _leaves(f"{name} {word}", sub)
        else:
            yield f"{name} {word}", sub


def _command(words: str, command: Any) -> Iterator[str]:
    usage = [f"{words} [OPTIONS]"]
    rows = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            shown = str(parameter.metavar or parameter.name).upper() if not parameter.metavar else parameter.metavar
            usage.append(shown if parameter.required else f"[{shown}]")
            rows.append((f"`{shown}`", parameter.help, "required" if parameter.required else ""))
        else:
            names = ", ".join(f"`{n}`" for n in (*parameter.opts, *parameter.secondary_opts))
            rows.append((names, parameter.help, _default(parameter)))
    yield from ("", f"## `{words}`", "", " ".join(str(command.help).split()), "")
    yield from ("```text", " ".join(usage), "```", "", "| name | meaning | default |", "|---|---|---|")
    for row in rows:
        yield "| " + " | ".join(" ".join(str(cell or "").split()).replace("|", r"\|") for cell in row) + " |"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    return "" if value in (None, False, "", [], ()) or callable(value) else f"`{value}`"
