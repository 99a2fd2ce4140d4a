"""Hostile files, folders, endpoints, clients, signals and disks against the four commands."""
