"""The engine: one step after another over all running requests."""
