"""Readers of command line values that commands of several rooms take."""

from __future__ import annotations

import argparse


def height_width(text: str) -> tuple[int, int]:
    """Read a size in pixels, ``HxW``, as (height, width).

    Raises:
        argparse.ArgumentTypeError: it reads otherwise.
    """
    try:
        height, width = (int(part) for part in text.lower().split('x'))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no size, height x width, e.g. 256x448'
        ) from None
    return height, width
