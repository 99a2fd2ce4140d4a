"""Measure retrieval, labels and KG-RAG methods on labelled data."""
