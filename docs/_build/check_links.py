"""Check every link of a built site: files, anchors, and that nothing is asked of another host while reading.

``python docs/_build/check_links.py site`` prints what is broken and exits 1, or says how much it checked.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Attributes whose address a browser loads by itself; elsewhere an address is only followed when it is clicked.
LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}
POINTING = {("a", "href"), *LOADED}
#: `rel` of links that are not loaded.
ONLY_SAID = {"canonical", "prev", "next", "alternate"}


@dataclass
class Page(HTMLParser):
    """The ids of a page and what it points to."""

    ids: set[str] = field(default_factory=set)
    targets: list[tuple[bool, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect ids and addresses."""
        known = dict(attrs)
        self.ids |= {value for key in ("id", "name") if (value := known.get(key))}
        said = known.get("rel") in ONLY_SAID
        for key, value in known.items():
            if value is not None and (tag, key) in POINTING:
                self.targets.append(((tag, key) in LOADED and not said, value))


def broken(site: Path) -> tuple[list[str], int]:
    """Return what is broken, a line each, and how many links were looked at."""
    pages: dict[Path, Page] = {}
    for path in sorted(site.rglob("*.html")):
        pages[path] = Page()
        pages[path].feed(path.read_text(encoding="utf-8"))
    found, seen = [], 0
    for path, page in pages.items():
        if path.name == "404.html":  # it is served for any path, so its links are absolute
            continue
        for loaded, target in page.targets:
            seen += 1
            if problem := _problem(path, target, pages, loaded=loaded):
                found.append(f"{path.relative_to(site)}: {target}: {problem}")
    return found, seen


def _problem(page: Path, target: str, pages: dict[Path, Page], *, loaded: bool) -> str:
    parts = urlsplit(target)
    if parts.scheme in ("http", "https") or parts.netloc:
        return "loaded from another host" if loaded else ""
    if parts.scheme:
        return ""
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if path.is_dir():
        path /= "index.html"
    if not path.exists():
        return "no such file"
    anchor = unquote(parts.fragment)
    if anchor and path in pages and anchor not in pages[path].ids and anchor != "__top":
        return "no such anchor"
    return ""


def main() -> None:
    """Check the site that the first argument names."""
    site = Path(sys.argv[1]).resolve()
    found, seen = broken(site)
    sys.stdout.write("".join(f"{line}\n" for line in found))
    if found or not seen:
        sys.exit(f"{len(found)} broken links of {seen:,}")
    sys.stdout.write(f"{seen:,} links, none broken\n")


if __name__ == "__main__":
    main()
