"""Paged keys and values: tensors, the prefix forest over blocks, which row sees what."""
