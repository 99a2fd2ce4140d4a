"""DART and its neighbours: draft trees from a parallel head, from n-grams and from the request's own text."""

METHODS = {
    "lookup": "registry:make_lookup",
    "ngram": "registry:make_ngram",
    "head": "registry:make_head",
    "dart": "registry:make_dart",
}
"""Ways to draft by the name of `--draft`: module of this package, function from a `registry.Setting` to a proposer."""
