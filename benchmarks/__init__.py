"""Measurements that need more than a test run: each a module to run by hand."""
