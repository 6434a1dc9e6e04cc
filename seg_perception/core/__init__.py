"""Numpy in, numpy out: what only knows a picture and the ground."""
