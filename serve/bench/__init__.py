"""Measure servers and drafting from the command line."""
