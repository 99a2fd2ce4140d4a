"""Libraries that an extra of the distribution brings, such as ``pip install 'vckg[leiden]'``."""

from __future__ import annotations

from importlib.util import find_spec

from vckg.base.errors import InputError


def require_extra(extra: str, what: str, *modules: str) -> None:
    """Refuse a step in one line where the libraries of its extra are not installed.

    Parameters
    ----------
    extra
        Name of the extra in ``pyproject.toml``.
    what
        The step, as the subject of the message.
    modules
        Modules that must be found; none is imported.
    """
    for module in modules:
        if find_spec(module) is None:
            raise InputError(f"{what} needs {module}; run `pip install 'vckg[{extra}]'`")
