"""Print audits, differences and exports."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vckg.base.console import err, out
from vckg.printers.table import print_json, print_table
from vckg.quality.audit import Report, markdown
from vckg.quality.diff import Change, GraphDiff, TermDiff, as_json

SHOWN = 12
"""Number of changes of one kind to print; `--json` prints all."""
_STYLE = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def print_audit(report: Report, *, json: bool, as_markdown: bool) -> None:
    """Print the findings of an audit, errors first."""
    if json:
        print_json(report.as_json())
        return
    if as_markdown:
        out().print(markdown(report), end="")
        return
    console = out()
    console.print(f"{report.graph}: {report.nodes:,} nodes, {report.edges:,} edges")
    for f in report.findings:
        console.print(f"\n{f.severity}", style=_STYLE[f.severity], end="  ")
        console.print(f"{f.id}  {f.title} ({f.count:,}); {f.fix}")
        for example in f.examples:
            console.print(f"    {example}")
        if f.truncated:
            console.print("    ...")
    counts = report.counts
    summary = f"{counts['error']} errors, {counts['warning']} warnings, {counts['info']} notes, "
    summary += f"{len(report.passed)} checks passed"
    summary += f", {len(report.not_run)} not run" if report.not_run else ""
    console.print(f"\n{summary}", style="bold")


def print_diff(change: TermDiff | GraphDiff, *, json: bool) -> None:
    """Print what changed, kind by kind."""
    if json:
        print_json(as_json(change))
    elif not change:
        out().print("no difference")
    elif isinstance(change, TermDiff):
        _print_terms("", change)
    else:
        _print_graphs(change)


def _print_graphs(change: GraphDiff) -> None:
    if change.sources:
        out().print("sources", style="bold")
        print_table(
            ("source", "what", "was", "is"), ((s.source, s.field, s.was, s.now) for s in change.sources)
        )
        out().print()
    for category, terms in change.nodes.items():
        _print_terms(f"{category} ", terms)
    if change.edges:
        out().print("edges", style="bold")
        numbers = ("added", "removed", "kept", "changed")
        rows = ((e.source, e.relation, *(f"{getattr(e, n):,}" for n in numbers)) for e in change.edges)
        print_table(("source", "relation", *numbers), rows, right=numbers)


def _print_terms(prefix: str, change: TermDiff) -> None:
    for kind in TermDiff.__slots__:
        changes: tuple[Change, ...] = getattr(change, kind)
        if changes:
            out().print(f"{prefix}{kind}  {len(changes):,}", style="bold")
            print_table(("", "", ""), [(c.id, c.label, _how(c)) for c in changes[:SHOWN]], header=False)
            if len(changes) > SHOWN:
                out().print(f"... and {len(changes) - SHOWN:,} more (--json lists all)", style="dim")
            out().print()


def _how(change: Change) -> str:
    words = []
    if change.was:
        words.append(f"was {change.was!r}")
    if change.instead:
        words.append(f"use {change.instead}")
    if change.left:
        words.append(f"left {', '.join(change.left)}")
    if change.joined:
        words.append(f"joined {', '.join(change.joined)}")
    return "; ".join(words)


def print_exported(folder: Path, manifest: dict[str, Any], *, json: bool) -> None:
    """Print the files of an export and, on stderr, the sources that their licence keeps out."""
    if json:
        print_json(manifest)
    else:
        sizes: Iterable[tuple[str, str]] = (
            (name, f"{entry['bytes'] / 1e6:,.1f} MB") for name, entry in manifest["files"].items()
        )
        out().print(f"{folder}: {manifest['nodes']:,} nodes, {manifest['edges']:,} edges")
        print_table(("file", "size"), sizes, right=("size",))
    closed = manifest["left_out"]
    if closed:
        edges = sum(source["edges"] for source in closed.values())
        names = ", ".join(sorted(closed))
        err().print(
            f"left out, because a licence forbids redistribution or none is stated: {edges:,} edges and "
            f"{manifest['nodes_left_out']:,} nodes of {names}; --i-have-the-right keeps them",
            soft_wrap=True,
        )


def print_released(archive: Path, released: dict[str, Any], *, json: bool) -> None:
    """Print what a release holds and, on stderr, what a licence kept out of it."""
    if json:
        print_json(released)
        return
    out().print(f"{archive}: {released['bytes'] / 1e6:,.1f} MB, sha256 {released['sha256']}")
    left_out = released["left_out"]
    if left_out["edges"]:
        err().print(
            f"left out, because a licence forbids passing them on or none is stated: {left_out['edges']:,} edges, "
            f"{left_out['nodes']:,} nodes and {left_out['names']:,} names of {', '.join(left_out['sources'])}",
            soft_wrap=True,
        )
