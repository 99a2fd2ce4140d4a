"""The whole story in one run, under one page."""
