"""Torch architectures and their export; never imported by nodes, runtime or core."""
