"""Paths of the files that samples are made from."""

from __future__ import annotations

from arena.datasets.scarena import Files
from vckg.base.resources import resource


def scarena_files() -> Files:
    """SC-Arena's four files, from a mirror or downloaded once, their checksums verified.

    Raises
    ------
    SourceError
        No route leads to a file, or it has another checksum than `data/arena/sources.toml` says.
    """
    from vckg.build.fetch import Places, fetch
    from vckg.build.source_table import read_sources

    sources = read_sources(resource("data", "arena", "sources.toml"))
    (archive,) = fetch(sources, Places.named())
    return Files(*(archive.files[part] for part in ("cells", "perturbation", "qa", "markers")))
