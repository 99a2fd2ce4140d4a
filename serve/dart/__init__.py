"""DART and its neighbours: draft trees from a parallel head, from n-grams and from the request's own text."""
