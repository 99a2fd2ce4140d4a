"""Paged keys and values: tensors, the prefix forest over blocks, attention metadata."""
