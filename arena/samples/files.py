"""Where the files of the samples are."""

from __future__ import annotations

import os
from pathlib import Path

from arena.samples.scarena import Files
from vckg.errors import InputError


def mirror_folder() -> Path | None:
    """The mirror of files that ``VCKG_MIRROR`` names, or None."""
    named = os.environ.get("VCKG_MIRROR")
    if not named:
        return None
    if not Path(named).is_dir():
        raise InputError(f"VCKG_MIRROR={named}: no such folder; unset it, or name a mirror of the sources")
    return Path(named)


def scarena_files() -> Files:
    """SC-Arena's four files, from the mirror or downloaded, their checksums verified."""
    mirror = mirror_folder()
    if mirror is None:
        raise InputError("SC-Arena's files: set VCKG_MIRROR")
    base = mirror / "scarena"
    return Files(
        base / "cell_sentences_fixed.jsonl",
        base / "test_perturbation.json",
        base / "ScientificQA_final.json",
        base / "cell_marker.txt",
    )
