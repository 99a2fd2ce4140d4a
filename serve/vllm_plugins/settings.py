"""Settings of a plugin from one environment variable: vLLM hands plugins no options of their own."""

from __future__ import annotations

from dataclasses import fields
from typing import TypeVar

from serve.errors import InputError

T = TypeVar("T")


def read_settings(kind: type[T], text: str, where: str) -> T:
    """A frozen dataclass from ``name=value,name=value``; what is not named keeps its default.

    Raises
    ------
    InputError
        for an unknown name or a value of another type.
    """
    types = {f.name: str(f.type) for f in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, object] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, value = part.partition("=")
        if name not in types:
            raise InputError(f"{where}: no setting {name!r}; there are {', '.join(types)}")
        values[name] = _read(types[name], value, f"{where}: {name}")
    return kind(**values)


def _read(type_name: str, value: str, where: str) -> object:
    try:
        if type_name == "bool":
            return {"true": True, "false": False}[value.lower()]
        return {"int": int, "float": float, "str": str}[type_name](value)
    except (KeyError, ValueError) as error:
        raise InputError(f"{where} is {value!r}, wanted a {type_name}") from error
