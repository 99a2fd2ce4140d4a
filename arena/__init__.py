"""The arena: five single-cell tasks put to models, judged with knowledge, counted with intervals."""
