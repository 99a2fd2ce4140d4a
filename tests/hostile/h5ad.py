"""h5ad files of the attacks: a sound one, what can be wrong with one, and whether an annotated one is valid."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

TYPES = {
    "CL:0000084": "T cell",
    "CL:0000236": "B cell",
    "CL:0000576": "monocyte",
    "CL:0000623": "natural killer cell",
    "CL:0000057": "fibroblast",
    "CL:0000115": "endothelial cell",
}
GENES = [f"GENE{i}" for i in range(60)]
TEXT = h5py.string_dtype()


def write_synthetic(path: Path, cells: int = 90) -> Path:
    """Cells of three types as counts in CSR, ten marker genes a type, as anndata writes them."""
    import anndata as ad
    import pandas as pd
    import scipy.sparse as sp

    draws = np.random.default_rng(0)
    counts = draws.poisson(0.3, (cells, len(GENES)))
    kind = np.arange(cells) % 3
    for i in range(3):
        of_kind = np.flatnonzero(kind == i)
        counts[np.ix_(of_kind, range(10 * i, 10 * i + 10))] += draws.poisson(6, (len(of_kind), 10))
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical.from_codes(kind, list("abc"))}, index=[f"c{i}" for i in range(cells)]
    )
    adata = ad.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs=obs, var=pd.DataFrame(index=GENES))
    adata.layers["counts"] = adata.X.copy()
    adata.obsm["X_umap"] = draws.normal(size=(cells, 2)).astype(np.float32)
    adata.write_h5ad(path)
    return path


def genes_of(path: Path) -> list[str]:
    """The gene names of an undamaged file."""
    with h5py.File(path) as file:
        return [str(name) for name in file["var"][file["var"].attrs["_index"]].asstr()[:]]


def graph_of(sources: Sequence[Path]) -> Graph:
    """A graph that knows the genes of some files; each file gives every cell type some markers."""
    import pandas as pd

    from vckg.graph.graph import Graph

    symbols = sorted({gene for source in sources for gene in genes_of(source)})
    curie = {symbol: f"HGNC:{i}" for i, symbol in enumerate(symbols, start=1)}
    nodes = [{"id": i, "category": "Gene", "name": s} for s, i in curie.items()]
    nodes += [{"id": i, "category": "Cell", "name": n} for i, n in (TYPES | {"CL:0000000": "cell"}).items()]
    edges = [(cell, "subclass_of", "CL:0000000", "toy") for cell in TYPES]
    chance = random.Random(0)
    for source in sources:
        listed = genes_of(source)
        for number, cell in enumerate(TYPES):
            markers = listed[10 * number : 10 * number + 10] if listed == GENES else chance.sample(listed, 30)
            edges += [(curie[gene], "is_marker_for", cell, "toy") for gene in markers]
    columns = ["subject", "relation", "object", "source"]
    return Graph.from_frames(pd.DataFrame(nodes), pd.DataFrame(edges, columns=columns).drop_duplicates())


class Damage(NamedTuple):
    """One thing that is wrong with a file, and with which exit codes a command may answer it."""

    name: str
    do: Callable[[h5py.File], None]
    codes: tuple[int, ...] = (0, 2)
    groupby: str = "cell_type"


def _set(path: str, change: Callable[[Any], Any]) -> Callable[[h5py.File], None]:
    """Replace a dataset by what a function makes of its values; attributes stay."""

    def do(file: h5py.File) -> None:
        old = file[path]
        attributes, values = dict(old.attrs), change(old[()])
        del file[path]
        file.create_dataset(path, data=values).attrs.update(attributes)

    return do


def _at(index: int, value: Any) -> Callable[[Any], Any]:
    def change(values: Any) -> Any:
        values[index] = value
        return values

    return change


def _attribute(path: str, name: str, value: Any) -> Callable[[h5py.File], None]:
    def do(file: h5py.File) -> None:
        file[path].attrs[name] = value

    return do


def _dropped(path: str) -> Callable[[h5py.File], None]:
    def do(file: h5py.File) -> None:
        del file[path]

    return do


def _without_counts(do: Callable[[h5py.File], None]) -> Callable[[h5py.File], None]:
    """The same in a file whose X cannot be replaced by its layer of counts."""

    def both(file: h5py.File) -> None:
        del file["layers/counts"]
        do(file)

    return both


def _whole(values: Any) -> Callable[[h5py.File], None]:
    """X as a dense array of this kind."""

    def do(file: h5py.File) -> None:
        shape = tuple(file["X"].attrs["shape"])
        del file["X"]
        file.create_dataset("X", data=np.broadcast_to(values, shape))
        file["X"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})

    return do


def _huge(path: str, *, filled: bool) -> Callable[[h5py.File], None]:
    """A dataset that says it is enormous, or unpacks to a gigabyte and more."""

    def do(file: h5py.File) -> None:
        attributes = dict(file[path].attrs)
        del file[path]
        size = 1 << 31 if filled else 1 << 45
        made = file.create_dataset(
            path, (size,), "f4", chunks=(1 << 22,), compression="gzip", compression_opts=1
        )
        if filled:  # the same packed chunk a few hundred times
            made[: 1 << 22] = 1
            _, chunk = made.id.read_direct_chunk((0,))
            for start in range(1 << 22, size, 1 << 22):
                made.id.write_direct_chunk((start,), chunk)
        made.attrs.update(attributes)

    return do


def _nested(file: h5py.File) -> None:
    """Groups in groups in uns."""
    group = file.require_group("uns")
    for _ in range(3_000):
        group = group.create_group("a")
        group.attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})


def _text_column(*texts: bytes) -> Callable[[h5py.File], None]:
    def do(file: h5py.File) -> None:
        n = file["obs/_index"].shape[0]
        del file["obs/_index"]
        made = file["obs"].create_dataset("_index", (n,), TEXT)
        made[:] = [texts[i % len(texts)] + str(i).encode() for i in range(n)]
        made.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})

    return do


def _own_column(name: str, value: Any) -> Callable[[h5py.File], None]:
    """Something of ours where gather writes."""

    def do(file: h5py.File) -> None:
        if value is None:
            file.create_group(name)
        else:
            file[name] = value

    return do


DAMAGES: dict[str, list[Damage]] = {
    "sparse matrix": [
        *(
            damage
            for groupby in ("cell_type", "cell")
            for damage in (
                Damage(f"an index beyond the genes, {groupby}", _set("X/indices", _at(5, 10**6)), (2,),
                    groupby),
                Damage(f"an index of -1, {groupby}", _set("X/indices", _at(5, -1)), (2,), groupby),
                Damage(f"the largest index, {groupby}", _set("X/indices", _at(5, 2**31 - 1)), (2,), groupby),
                Damage(f"an indptr that falls, {groupby}", _set("X/indptr", _at(3, 10**6)), (2,), groupby),
                Damage(f"a negative indptr, {groupby}", _set("X/indptr", _at(3, -7)), (2,), groupby),
                Damage(f"an indptr that ends too late, {groupby}", _set("X/indptr", _at(-1, 2**30)), (2,),
                    groupby),
                Damage(f"an indptr that begins too late, {groupby}", _set("X/indptr", _at(0, 9)), (2,),
                    groupby),
                Damage(f"an indptr that is short, {groupby}", _set("X/indptr", lambda v: v[:-3]), (2,),
                    groupby),
                Damage(f"fewer values than indices, {groupby}", _set("X/data", lambda v: v[:-3]), (2,),
                    groupby),
            )
        ),
        Damage("indices that are no whole numbers", _set("X/indices", lambda v: v + 0.5), (2,)),
        Damage("indices of two dimensions", _set("X/indices", lambda v: v.reshape(1, -1)), (2,)),
        Damage("a shape of 2^40 genes", _attribute("X", "shape", np.array([90, 1 << 40])), (2,)),
        Damage("a shape of 2^40 cells", _attribute("X", "shape", np.array([1 << 40, 60])), (2,)),
        Damage("a negative shape", _attribute("X", "shape", np.array([-90, 60])), (2,)),
        Damage("an index beyond the genes in a layer", _set("layers/counts/indices", _at(5, 10**6))),
        Damage("no indptr", _dropped("X/indptr"), (2,)),
        Damage("no X", _without_counts(_dropped("X")), (2,)),
    ],
    "values": [
        *(
            Damage(f"{value} in row {row}", _without_counts(_set("X/data", _at(at, value))), codes)
            for row, at in (("1", 5), ("2,600", -5))
            for value, codes in ((np.nan, (2,)), (np.inf, (2,)), (-3.0, (2,)), (1e38, (0, 2)))
        ),
        Damage("all NaN", _without_counts(_set("X/data", lambda v: v * np.nan)), (2,)),
        Damage("whole numbers of 2^62", _without_counts(_set("X/data", lambda v: v.astype("i8") << 60))),
        Damage("complex numbers", _without_counts(_set("X/data", lambda v: v + 1j)), (2,)),
        Damage("dense complex numbers", _without_counts(_whole(np.complex64(1j))), (2,)),
        Damage("words", _without_counts(_whole(np.bytes_(b"x"))), (2,)),
        Damage("truths", _without_counts(_set("X/data", lambda v: v > 1))),
        Damage("halves of a byte count", _without_counts(_set("X/data", lambda v: v.astype("f2")))),
        Damage("nothing but zeros", _without_counts(_whole(np.float32(0)))),
        Damage("NaN cell by cell", _without_counts(_set("X/data", _at(-5, np.nan))), (2,), "cell"),
    ],
    "wrong encodings": [
        Damage("an unknown encoding", _attribute("X", "encoding-type", "csr_matrixx"), (2,)),
        Damage("an encoding of the future", _attribute("X", "encoding-version", "99.0.0")),
        Damage("a column matrix that is a row matrix", _attribute("X", "encoding-type", "csc_matrix"), (2,)),
        Damage("an encoding that is a number", _attribute("obs", "encoding-type", 5)),
        Damage("columns that are not there", _attribute("obs", "column-order", ["cell_type", "absent"]),
            (2,)),
        Damage("columns that are numbers", _attribute("obs", "column-order", np.arange(3))),
        Damage("no list of columns", lambda f: f["obs"].attrs.__delitem__("column-order")),
        Damage("an index that is not there", _attribute("obs", "_index", "absent"), (2,)),
        Damage("genes that are numbers", _set("var/_index", lambda v: np.arange(len(v))), (2,)),
        Damage("fewer genes than columns", _set("var/_index", lambda v: v[:-4]), (2,)),
        Damage("fewer cells than rows", _set("obs/_index", lambda v: v[:-4]), (2,)),
        Damage("a category that is none", _set("obs/cell_type/codes", _at(3, 100)), (2,)),
        Damage("a category of -100", _set("obs/cell_type/codes", _at(3, -100))),
        Damage("categories that repeat", _set("obs/cell_type/categories", _at(1, b"a"))),
        Damage("names with bytes that are no text", _text_column(b"\xff\xfe")),
        Damage("names of a megabyte", _text_column(b"x" * 1_000_000)),
        Damage("names with line breaks and markup", _text_column(b"<script>\n\x1b[2J")),
        Damage("obs is a dataset",
            lambda f: (f.__delitem__("obs"), f.create_dataset("obs", data=np.arange(9)))[0], (2,)),
        Damage("a table of the user where a column goes", _own_column("obs/gather_cell_type", None)),
        Damage("a number where the answers go", _own_column("uns/gather", 5)),
        Damage("a dataset in place of uns",
            lambda f: (f.__delitem__("uns"), f.create_dataset("uns", data=5))[0]),
        Damage("groups 3,000 deep", _nested),
    ],
    "files that unpack": [
        Damage("values that unpack to 8 GB", _huge("X/data", filled=True), (2,)),
        Damage("values that would be 128 TB", _huge("X/data", filled=False), (2,)),
        Damage("indices that would be 128 TB", _huge("X/indices", filled=False), (2,)),
        Damage("coordinates that would be 128 TB", _huge("obsm/X_umap", filled=False), (2,)),
    ],
}  # fmt: skip


def _link(name: str, target: str) -> Callable[[h5py.File, Path], None]:
    """Put an external link in the place of an object."""

    def do(file: h5py.File, victim: Path) -> None:
        if name in file:
            del file[name]
        file[name] = h5py.ExternalLink(str(victim), target)

    return do


def _soft(name: str, target: str) -> Callable[[h5py.File, Path], None]:
    def do(file: h5py.File, _victim: Path) -> None:
        if name in file:
            del file[name]
        file[name] = h5py.SoftLink(target)

    return do


def _raw_bytes(file: h5py.File, victim: Path) -> None:
    """A column whose bytes lie in another file."""
    del file["obs/cell_type"]
    size = file["obs/_index"].shape[0]
    made = file.create_dataset(
        "obs/cell_type", (size,), "i1", external=[(str(victim.with_suffix(".bin")), 0, size)]
    )
    made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def _virtual(file: h5py.File, victim: Path) -> None:
    """A dataset that is a view of another file's."""
    shape = file["obsm/X_umap"].shape
    layout = h5py.VirtualLayout(shape, "f4")
    layout[:] = h5py.VirtualSource(str(victim), "obsm/X_umap", shape=shape)
    del file["obsm/X_umap"]
    file.create_virtual_dataset("obsm/X_umap", layout)


def _chain(file: h5py.File, victim: Path) -> None:
    """A link inside to a link to the other file."""
    del file["obs"]
    file["there"] = h5py.ExternalLink(str(victim), "/obs")
    file["obs"] = h5py.SoftLink("/there")


def _all(file: h5py.File, victim: Path) -> None:
    for name in list(file):
        _link(name, f"/{name}")(file, victim)


def _cycle(file: h5py.File, _victim: Path) -> None:
    file.require_group("uns")["self"] = file["uns"]


LINKS: list[tuple[str, Callable[[h5py.File, Path], None]]] = [
    *((f"{name} in another file", _link(name, f"/{name}")) for name
        in ("obs", "uns", "X", "var", "layers", "obsm", "obs/cell_type", "X/indices")),
    ("all of it in another file", _all),
    ("the answers' place in another file", _link("uns/gather", "/uns")),
    ("a column of ours in another file", _link("obs/gather_cell_type", "/obs/cell_type")),
    ("obs in /dev/zero", lambda f, _v: _link("obs", "/obs")(f, Path("/dev/zero"))),
    ("obs in a file that is not there", lambda f, v: _link("obs", "/obs")(f, v.with_name("absent.h5ad"))),
    ("a link to a link to another file", _chain),
    ("a column's bytes in another file", _raw_bytes),
    ("a view of another file", _virtual),
    *((f"{name} is a soft link to {target}", _soft(name, target)) for name,
        target
            in (("obs", "/var"), ("uns", "/obs"), ("X/indices", "/X/indptr"), ("obs", "/obs"),
                ("obs/cell_type", "/absent"))),
    ("a group that holds itself", _cycle),
]  # fmt: skip


def check() -> None:
    """`check-h5ad OUT IN`: the columns and answers of OUT are there, one a cell, and OUT reads where IN does."""
    import warnings

    import anndata as ad
    from anndata.io import read_elem

    from gather.labelling.frames import unpacked

    out, source = (Path(word) for word in sys.argv[1:])
    warnings.simplefilter("ignore")
    try:
        whole = ad.read_h5ad(out)
        column, evidence = whole.obs["gather_cell_type"], whole.uns["gather"]["evidence"]
    except Exception:  # what nobody reads may be damaged in both
        if _reads(source):
            raise
        with h5py.File(out) as file:
            column, evidence = (
                read_elem(file[name]) for name in ("obs/gather_cell_type", "uns/gather/evidence")
            )
    with h5py.File(out) as file:
        wanted = file["obs"][file["obs"].attrs["_index"]].shape[0]
    if len(column) != wanted or column.isna().any():
        sys.exit(f"{len(column)} answers, {wanted} cells")
    unpacked(evidence)


def _reads(path: Path) -> bool:
    import anndata as ad

    try:
        ad.read_h5ad(path)
    except Exception:  # noqa: BLE001 - whatever it is, the file does not read
        return False
    return True
