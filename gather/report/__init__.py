"""The annotation report: one HTML file."""
