"""Deterministic scores of an answer."""
