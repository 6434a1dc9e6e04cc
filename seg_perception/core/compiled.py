"""Functions compiled to machine code: what has to look at each pixel, node or cell in turn.

The only place that imports numba. Each function is compiled for fixed types when its module is
first imported, which takes some seconds once on a machine; the result is kept beside the source,
in the user's cache folder where that can't be written to, or in ``NUMBA_CACHE_DIR``. They run
without Python's lock, so that the executor's thread takes messages meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numba
from numba import types

U8, U16, I8, I16 = types.uint8, types.uint16, types.int8, types.int16
I32, I64 = types.int32, types.int64
F32, F64, BOOL, NONE = types.float32, types.float64, types.boolean, types.void

_told = False


def given(element: Any, dimensions: int) -> Any:
    """Return the type of an array that is read alone: contiguous, writeable or not."""
    return types.Array(element, dimensions, 'C', readonly=True)


def filled(element: Any, dimensions: int) -> Any:
    """Return the type of an array that is written to: contiguous."""
    return types.Array(element, dimensions, 'C')


def compiled(returns: Any, *arguments: Any) -> Callable[[Callable], Any]:
    """Compile a function for these types."""

    def decorate(function: Callable) -> Any:
        signature = returns(*arguments)
        try:
            done = numba.njit(signature, cache=True, nogil=True)(function)
        except RuntimeError:  # nowhere to keep it: a read-only file system without a home
            done = numba.njit(signature, nogil=True)(function)
        if not done.stats.cache_hits:
            _tell()
        return done

    return decorate


def inlined(function: Callable) -> Any:
    """Mark a part of compiled functions."""
    return numba.njit(function)


def _tell() -> None:
    """Say why nothing happens for a while."""
    global _told
    if not _told:
        _told = True
        logging.getLogger(__name__).warning(
            'compiling what maps pixels onto the ground for this machine: some twenty seconds, '
            'and the next start finds it done (else set NUMBA_CACHE_DIR to a writeable folder)'
        )
