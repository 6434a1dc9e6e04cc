"""Rendered street scenes with exact truth; needs panda3d."""
