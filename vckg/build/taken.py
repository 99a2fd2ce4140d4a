"""A source with its files, as `vckg.build.fetch` hands it to the build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vckg.build.source_table import Source


@dataclass(frozen=True, slots=True)
class Taken:
    """A source with the files a build reads."""

    source: Source
    files: Mapping[str, Path]
    options: Mapping[str, Any]
    route: Mapping[str, Any] = field(default_factory=dict)
    """What the manifest says of where the files came from."""
