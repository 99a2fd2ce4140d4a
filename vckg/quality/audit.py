"""Audit a graph before its release.

Every check has an id, which stays the same between releases, and a severity:

error    the graph is damaged or wrong, or must not be redistributed unchanged; a CI job should stop
warning  something is missing or unusual; readers of the graph should know it
info     a property of the graph; no action is needed
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vckg.export.export import exported_manifest
from vckg.graph.folder import sha256_of
from vckg.graph.graph import Graph
from vckg.graph.manifest import MANIFEST, read_manifest
from vckg.quality.checks import CHECKS, EXAMPLES, SEVERITIES, Hits, Severity

FORMAT = "vckg-audit"
FORMAT_VERSION = 1
FILE_CHECKS = ("file-missing", "file-damaged", "file-unlisted")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check with hits."""

    id: str
    severity: Severity
    title: str
    fix: str
    count: int
    examples: tuple[str, ...]

    @property
    def truncated(self) -> bool:
        """Whether there are more hits than examples; a check may sum up many hits in one example."""
        return self.count > len(self.examples) == EXAMPLES


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of an audit, errors first."""

    graph: str
    content_hash: str | None
    """None where damaged files prevent loading."""
    nodes: int
    edges: int
    findings: tuple[Finding, ...]
    passed: tuple[str, ...]
    """Ids of the checks without hits."""
    not_run: tuple[str, ...]
    """Ids of the checks that damaged files prevent."""

    @property
    def counts(self) -> dict[Severity, int]:
        """The number of findings of each severity."""
        return {s: sum(f.severity == s for f in self.findings) for s in SEVERITIES}

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values with a format version."""
        return {"format": FORMAT, "format_version": FORMAT_VERSION, "counts": self.counts, **asdict(self)}


def audit(graph: Graph) -> Report:
    """Run every check on a graph, and compare its files with the manifest where it has a folder.

    Examples
    --------
    >>> import vckg
    >>> report = audit(vckg.example_graph())
    >>> report.counts["error"], [f.id for f in report.findings if f.severity == "error"]
    (2, ['source-infores', 'source-release'])
    """
    findings = list(_file_findings(graph.folder, graph.manifest)) if graph.folder else []
    passed = []
    for check in CHECKS:
        hits = check.find(graph)
        if hits.total:
            findings.append(Finding(check.id, check.severity, check.title, check.fix, *hits))
        else:
            passed.append(check.id)
    name = str(graph.folder or "in memory")
    return _report(name, graph.content_hash, (graph.n, graph.m), findings, passed, [])


def audit_folder(folder: Path) -> Report:
    """Audit a graph folder, or compare the files of an export (`vckg.export.export`) with its manifest.

    Damaged files are a finding, not an exception.

    Raises
    ------
    GraphError
        The folder is neither a graph folder of this format version nor an export.
    """
    if (exported := exported_manifest(folder)) is not None:
        findings = list(_file_findings(folder, exported, rebuild="export the graph again"))
        size = (int(exported["nodes"]), int(exported["edges"]))
        passed = [name for name in FILE_CHECKS if all(f.id != name for f in findings)]
        return _report(str(folder), exported["graph_content_hash"], size, findings, passed, [])
    manifest = read_manifest(folder)
    findings = list(_file_findings(folder, manifest))
    if any(f.id in ("file-missing", "file-damaged") for f in findings):
        size = (int(manifest.get("nodes", 0)), int(manifest.get("edges", 0)))
        return _report(str(folder), None, size, findings, [], [c.id for c in CHECKS])
    return audit(Graph.load(folder))


def _report(
    name: str,
    content_hash: str | None,
    size: tuple[int, int],
    findings: list[Finding],
    passed: Sequence[str],
    not_run: Sequence[str],
) -> Report:
    findings.sort(key=lambda f: SEVERITIES.index(f.severity))
    return Report(name, content_hash, *size, tuple(findings), tuple(passed), tuple(not_run))


# ---- the files -------------------------------------------------------------------------------------------------


def _file_findings(
    folder: Path, manifest: dict[str, Any], rebuild: str = "build the graph again"
) -> Iterable[Finding]:
    listed: dict[str, dict[str, Any]] = manifest["files"]
    missing = [name for name in sorted(listed) if not (folder / name).is_file()]
    damaged = [
        f"{name}: sha256 {found}, {listed[name]['sha256']} expected"
        for name in sorted(set(listed) - set(missing))
        if (found := sha256_of(folder / name)) != listed[name]["sha256"]
    ]
    damaged += _damaged_operators(folder)
    unlisted = [
        name
        for p in sorted(folder.rglob("*"))
        if p.is_file()
        and (name := p.relative_to(folder).as_posix()) not in {*listed, MANIFEST}
        and not _derived(name)
    ]
    kinds: tuple[tuple[str, Severity, str, str, list[str]], ...] = (
        ("file-missing", "error", "files are missing", rebuild, missing),
        ("file-damaged", "error", "files changed after they were written", rebuild, damaged),
        (
            "file-unlisted",
            "warning",
            "files that the manifest does not name",
            "remove them",
            unlisted,
        ),
    )
    for name, severity, title, fix, words in kinds:
        if words:
            yield Finding(name, severity, title, fix, *Hits.of(words))


def _derived(name: str) -> bool:
    """Return whether a file is derived from the graph; operators have checksums of their own."""
    return name.startswith("operators/")


def _damaged_operators(folder: Path) -> Iterable[str]:
    for path in sorted(folder.glob(f"operators/*/{MANIFEST}")):
        where = path.parent.relative_to(folder).as_posix()
        try:
            sums = json.loads(path.read_text(encoding="utf-8"))["sha256"]
            odd = [name for name in sorted(sums) if sha256_of(path.parent / name) != sums[name]]
        except (OSError, ValueError, KeyError, TypeError):
            odd = [MANIFEST]
        yield from (f"{where}/{name}: changed after it was written; remove {where}" for name in odd)


def markdown(report: Report) -> str:
    """Return the report as a Markdown page, for a CI summary or a release note."""
    counts = report.counts
    lines = [
        f"# Audit of `{report.graph}`",
        "",
        f"{report.nodes:,} nodes, {report.edges:,} edges, content hash `{report.content_hash or 'not computed'}`.",
        f"{counts['error']} errors, {counts['warning']} warnings, {counts['info']} notes; "
        f"{len(report.passed)} checks passed.",
        "",
    ]
    if report.findings:
        lines += ["| severity | id | what | count | examples | what to do |", "|---|---|---|---:|---|---|"]
    for f in report.findings:
        examples = "; ".join(f.examples) + (" ..." if f.truncated else "")
        cells = (f.severity, f"`{f.id}`", f.title, f"{f.count:,}", examples, f.fix)
        lines.append("| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |")
    if report.not_run:
        lines += ["", f"Not run, because files are damaged: {', '.join(f'`{c}`' for c in report.not_run)}."]
    return "\n".join(lines) + "\n"
