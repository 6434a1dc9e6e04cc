"""Replays of recordings: bags in, the nodes' pipeline on every frame, bags and scores out."""
