"""DART and its neighbours: draft trees from a parallel head, from n-grams and from the request's own text."""

METHODS = ("lookup", "ngram", "head", "dart")
"""Ways to draft, as `--draft` and `serve.spec_decode.registry.make_proposer` name them."""
