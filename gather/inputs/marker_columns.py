"""What the columns of a table of markers mean: told by their names, without regard to case and separators."""

from __future__ import annotations

import re
from collections.abc import Sequence

COLUMNS: dict[str, tuple[str, ...]] = {
    "gene": ("gene", "names", "feature", "symbol", "genesymbol", "genename", "marker"),
    "cluster": ("cluster", "group", "clusterid", "celltype", "seuratcluster", "leiden", "louvain", "ident"),
    "fold": ("avglog2fc", "log2fc", "log2foldchange", "logfoldchange"),
    "natural fold": ("avglogfc", "logfc"),
    "score": ("score", "statistic", "auc", "myauc"),
    "p": ("pvaladj", "pvalsadj", "padj", "adjpval", "fdr", "pval", "pvalue"),
    "inside": ("pct1", "pctin", "pctnzgroup"),
    "outside": ("pct2", "pctout", "pctnzreference"),
}
"""What a column means and the names it goes by, as `plain` writes them; each may have a final s."""
SHOWN = 12


def plain(name: str) -> str:
    """Return the name of a column in lower case, without separators: ``p.val_adj`` is ``pvaladj``."""
    return re.sub(r"[\s_.-]", "", name).lower()


def columns_of(header: Sequence[str]) -> dict[str, str]:
    """Return which column of a table means what; an empty name is that of the row names."""
    given = {plain(name): name for name in reversed(header)}
    found = {
        m: [w for name in names for w in (name, f"{name}s") if w in given] for m, names in COLUMNS.items()
    }
    return {meaning: given[words[0]] for meaning, words in found.items() if words}


def wanted_columns(header: Sequence[str]) -> str:
    """Say in words which column a table of markers lacks, and which columns it has."""
    found = columns_of(header)
    lacks = " and one of ".join(
        f"{meaning}s, such as {meaning!r}" for meaning in ("gene", "cluster") if meaning not in found
    )
    named = [name for name in header if name and not name.startswith("Unnamed: ")]
    shown = ", ".join(named[:SHOWN]) + (", ..." if named[SHOWN:] else "")
    return f"a table of markers needs a column of {lacks}; the columns here are {shown}"
