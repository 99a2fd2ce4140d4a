"""Ask a language model: client, cache, and the one call that names a cell set."""
