"""A data frame inside an R workspace file (``.rda``), read as columns of text. Nothing in the file is evaluated.

Source: R Internals, section 1.8 "Serialization Formats". Only the big-endian binary form is read (``RDX2``, ``RDX3``),
and of the types only those that a saved data frame consists of.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from vckg.base.errors import SourceError

MAGIC = (b"RDX2\nX\n", b"RDX3\nX\n")
_SYMBOL, _PAIRLIST, _EXTERNAL = 1, 2, 22
_TEXT, _LOGICAL, _INTEGER, _REAL, _TEXTS, _LIST = 9, 10, 13, 14, 16, 19
_ALTREP, _ATTRIBUTES, _REFERENCE, _NIL = 238, 239, 255, 254
_CONSTANTS = frozenset((241, 242, 251, 252, 253, _NIL))
_NA_INTEGER = -(2**31)
_LATIN1 = 1 << 14  # bit 2 of the general-purpose field, which begins at bit 12
_DAMAGE = (
    struct.error,
    ArithmeticError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RecursionError,
    MemoryError,
    pa.ArrowException,
)


class _Texts(NamedTuple):
    """Where the strings of a character vector lie; most columns of a table are never asked for."""

    start: int
    size: int


class _Vector(NamedTuple):
    """A value and its attributes."""

    value: Any
    attributes: dict[str, Any]


def read_frame(path: Path, data: bytes, columns: Sequence[str]) -> pa.Table:
    """Return the named columns of the first data frame of a workspace; missing values are empty texts.

    Raises
    ------
    SourceError
        The file is damaged, holds no data frame, or the frame lacks a column.
    """
    try:
        reader = _Reader(data)
        names, frame = reader.data_frame()
        if missing := [c for c in columns if c not in names]:
            raise SourceError(path, f"no column {missing[0]!r} in {', '.join(names)}")
        return pa.table({c: reader.texts(frame[names.index(c)]) for c in columns})
    except _DAMAGE as error:
        raise SourceError(path, f"not a readable R workspace ({error})", fix="fetch it again") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, len(MAGIC[0])
        self._references: list[Any] = []
        version = self._integers(3)[0]
        if version == 3:  # the native encoding follows
            (size,) = self._integers(1)
            self._at += size

    def data_frame(self) -> tuple[list[str], list[Any]]:
        """Names and columns of the first list with names in the workspace."""
        workspace = self._item()
        for value in workspace.values() if isinstance(workspace, dict) else ():
            if isinstance(value, _Vector) and isinstance(value.value, list) and "names" in value.attributes:
                return self.texts(value.attributes["names"]).to_pylist(), value.value
        raise ValueError("no data frame in it")

    def texts(self, column: Any) -> pa.Array:
        """A column as texts; a factor as its levels."""
        value, attributes = column if isinstance(column, _Vector) else (column, {})
        if isinstance(value, _Texts):
            return self._strings(value)
        if isinstance(value, pa.Array):
            return value
        if not isinstance(value, np.ndarray):
            raise TypeError("a column is not a vector")
        if "levels" in attributes:
            levels = self.texts(attributes["levels"])
            codes = np.where(value == _NA_INTEGER, 0, value).astype(np.int64) - 1
            words = levels.take(pa.array(np.maximum(codes, 0)))
            return pa.array(np.where(codes < 0, "", words.to_numpy(zero_copy_only=False)), pa.string())
        missing = np.isnan(value) if value.dtype.kind == "f" else value == _NA_INTEGER
        return pa.array(["" if m else f"{v:.15g}" for v, m in zip(value.tolist(), missing, strict=True)])

    def _strings(self, column: _Texts) -> pa.Array:
        data, at = self._data, column.start
        unpack = struct.Struct(">ii").unpack_from
        words: list[str] = []
        for _ in range(column.size):
            flags, size = unpack(data, at)
            at += 8
            if size < 0:
                words.append("")
                continue
            words.append(data[at : at + size].decode("latin-1" if flags & _LATIN1 else "utf-8"))
            at += size
        return pa.array(words, pa.string())

    def _integers(self, count: int) -> tuple[int, ...]:
        values = struct.unpack_from(f">{count}i", self._data, self._at)
        self._at += 4 * count
        return values

    def _item(self) -> Any:
        (flags,) = self._integers(1)
        kind = flags & 0xFF
        if kind in _CONSTANTS:
            return None
        if kind == _REFERENCE:
            return self._references[(flags >> 8 or self._integers(1)[0]) - 1]
        if kind == _SYMBOL:
            name = self._item()
            self._references.append(name)
            return name
        if kind in (_PAIRLIST, _ATTRIBUTES):
            return self._pairs(flags)
        if kind == _TEXT:
            return self._text()
        if kind == _ALTREP:
            return self._compact()
        if kind == _EXTERNAL:
            self._references.append(None)
            self._item(), self._item()
            return self._attributes(flags) and None
        value = self._vector(kind)
        return _Vector(value, self._attributes(flags))

    def _attributes(self, flags: int) -> dict[str, Any]:
        return (self._item() or {}) if flags & 0x200 else {}

    def _pairs(self, flags: int) -> dict[str, Any]:
        """A pair list as a dict by tag; a pair without one goes under its number."""
        pairs: dict[str, Any] = {}
        while flags & 0xFF in (_PAIRLIST, _ATTRIBUTES):
            self._attributes(flags)
            tag = self._item() if flags & 0x400 else None
            pairs[tag or str(len(pairs))] = self._item()
            (flags,) = self._integers(1)
        return pairs

    def _text(self) -> str | None:
        (size,) = self._integers(1)
        if size < 0:
            return None
        self._at += size
        return self._data[self._at - size : self._at].decode("utf-8", "replace")

    def _vector(self, kind: int) -> Any:
        (size,) = self._integers(1)
        if size < 0:
            raise ValueError("a vector of more than 2^31 values")
        if kind in (_LOGICAL, _INTEGER, _REAL):
            dtype = np.dtype(">f8" if kind == _REAL else ">i4")
            values = np.frombuffer(self._data, dtype, size, self._at)
            self._at += size * dtype.itemsize
            return values.astype(dtype.newbyteorder("="))
        if kind == _TEXTS:
            return self._skip_texts(size)
        if kind == _LIST:
            return [self._item() for _ in range(size)]
        raise ValueError(f"a value of type {kind}, which no saved table holds")

    def _skip_texts(self, size: int) -> _Texts:
        texts, data, at = _Texts(self._at, size), self._data, self._at
        unpack = struct.Struct(">i").unpack_from
        for _ in range(size):
            (length,) = unpack(data, at + 4)
            at += 8 + max(length, 0)
        if at > len(data):
            raise ValueError("it ends within a text")
        self._at = at
        return texts

    def _compact(self) -> Any:
        """A vector in R's short form: a range of numbers, or another vector wrapped."""
        info, state, attributes = self._item(), self._item(), self._item()
        name = next(iter(info.values())) if info else ""
        if name in ("compact_intseq", "compact_realseq"):
            size, first, step = state.value.tolist()
            return _Vector(first + step * np.arange(int(size)), attributes or {})
        if name.startswith("wrap_"):
            inner = state.value[0] if isinstance(state, _Vector) else next(iter(state.values()))
            return _Vector(inner.value, inner.attributes | (attributes or {}))
        raise ValueError(f"a vector in the short form {name!r}")
