"""Camera frames in, semantic masks and a drivable occupancy grid out."""

__version__ = '0.1.0'
