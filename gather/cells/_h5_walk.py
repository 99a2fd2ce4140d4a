"""Walk an HDF5 file in a process of its own, so that a damaged file cannot end or hold up the one that asks.

Run as a script with the path; it imports nothing of this package. One line of JSON on stdout says what was found:
``{"problem": ""}`` for a file that can be read. No line, or none in time, means that the HDF5 library gave up.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

resource: Any
try:
    import resource
except ImportError:  # Windows sets no limits on a process this way
    resource = None

READ_WHOLE_BYTES = 64 << 20
"""Numbers are read too while all that was read is less: damage in filters shows there. Texts are always read."""
LARGE_BYTES, MOST_UNPACKED = 1 << 30, 20_000
"""A data set that claims more than the first, and more than so many times what is stored of it, is damaged."""
MOST_MEMORY_BYTES = 16 << 30
"""Address space of the walk, or the limit of the shell where that is lower."""
DEEPEST = 40


class Problem(Exception):
    """What is wrong with the file, for the user."""


def walk(file: Any) -> None:
    """Open every object, every attribute and every chunk index; read texts, and numbers of small files."""
    import h5py

    seen: set[int] = set()
    budget = READ_WHOLE_BYTES
    todo: list[tuple[Any, str, int]] = [(file, "", 0)]
    while todo:
        group, path, depth = todo.pop()
        for name in group:
            place = f"{path}/{name}"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                kind = "an external link" if isinstance(link, h5py.ExternalLink) else "a soft link"
                raise Problem(
                    f"{place!r} is {kind}, which could lead the output into another file; "
                    "write the file again with adata.write_h5ad()"
                )
            element = group[name]
            number = h5py.h5o.get_info(element.id).addr
            if number in seen:
                continue
            seen.add(number)
            _attributes(element)
            if isinstance(element, h5py.Group):
                if depth == DEEPEST:
                    raise Problem(f"{place!r} lies more than {DEEPEST} groups deep")
                _sparse(element, place)
                todo.append((element, place, depth + 1))
            elif isinstance(element, h5py.Dataset):
                budget -= _data_set(element, place, budget)


def _attributes(element: Any) -> None:
    for name in element.attrs:
        element.attrs[name]


def _data_set(element: Any, place: str, budget: int) -> int:
    """Check one data set; return the bytes that were read."""
    if element.is_virtual or element.external:
        raise Problem(
            f"{place!r} keeps its values in another file; write the file again with adata.write_h5ad()"
        )
    if element.shape is None:
        return 0
    size, stored = element.size * element.dtype.itemsize, element.id.get_storage_size()
    if size > LARGE_BYTES and size > MOST_UNPACKED * stored:
        raise Problem(f"{place!r} claims {size >> 20:,} MB, of which {stored:,} bytes are stored")
    if element.chunks is not None:
        element.id.get_num_chunks()
    if element.dtype.hasobject or size <= budget:
        element[()]
        return 0 if element.dtype.hasobject else int(size)
    return 0


def _sparse(element: Any, place: str) -> None:
    """Refuse a sparse matrix whose positions are no whole numbers: scipy would round them."""
    for name in ("indices", "indptr"):
        part = element.get(name)
        if "indptr" in element and getattr(part, "dtype", None) is not None and part.dtype.kind not in "iu":
            raise Problem(f"'{place}/{name}' holds {part.dtype}, wanted whole numbers; the file is damaged")


def _limit_memory() -> None:
    """Write no core dump, and lower the limit of address space to `MOST_MEMORY_BYTES`; a lower one stays."""
    if resource is None:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = MOST_MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MOST_MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(path: str) -> None:
    """Walk one file and print what was found."""
    _limit_memory()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import h5py

    try:
        with h5py.File(path, "r") as file:
            _attributes(file)
            walk(file)
    except Problem as problem:
        message = str(problem)
    except Exception as error:  # noqa: BLE001  the library's words are passed on
        message = f"cannot be read, it may be cut off or damaged ({' '.join(str(error).split())[:200]})"
    else:
        message = ""
    print(json.dumps({"problem": message}), flush=True)  # noqa: T201
    os._exit(0)  # the library's own end may fail on a damaged file


if __name__ == "__main__":
    main(sys.argv[1])
