"""The greatest, and sums, in windows of any size around the values of an array.

Windows reach as many rows and columns to either side as ``along`` and ``across`` say for each row;
above and below the array its last row counts for those that are not there. The rows are nodes of a
fan at one range, or pixels.
"""

from __future__ import annotations

import numpy as np

from seg_perception.core.compiled import (
    I32,
    I64,
    NONE,
    U8,
    U16,
    compiled,
    filled,
    given,
    inlined,
)

# (Loops over whole arrays or slices of them that share no memory: those become vector
# instructions.)


@inlined
def copy(values, found):
    for b in range(len(found)):
        found[b] = values[b]


@inlined
def at_least(values, least):
    for b in range(len(values)):
        values[b] = max(values[b], least)


@inlined
def greater(one, other, found):
    """Write the greater of each two, as far as `other` goes."""
    for b in range(len(other)):
        found[b] = max(one[b], other[b])


@inlined
def widened(now, then, across, found):
    """Write the greatest within `across` to either side; `now` holds the values, and is scratch.

    (Near the fan's ends, which are outside the picture, in windows that lie a bit inwards.)
    """
    nb = len(now)
    # Greatest of 1, 2, 4, .. nodes from each on, then of two such that overlap.
    width, reach = 1, min(2 * across + 1, nb)
    while 2 * width <= reach:
        copy(now[nb - width :], then[nb - width :])
        greater(now, now[width:], then)
        now, then = then, now
        width *= 2
    first = reach // 2
    greater(now, now[reach - width : nb - width + 1], found[first:])
    for b in range(first):
        found[b] = found[first]
    last = first + nb - reach
    for b in range(last + 1, nb):
        found[b] = found[last]


@inlined
def row_worst(values, r, along, across, scratch, found):
    """Write the greatest in the windows around the nodes of a row; `scratch` is [2, nb]."""
    now, then = scratch[0], scratch[1]
    first, stop = max(r - along, 0), min(r + along + 1, len(values))
    copy(values[first], now)
    for other in range(first + 1, stop):
        greater(now, values[other], then)
        now, then = then, now
    widened(now, then, across, found)


@inlined
def slide(column, across, running, found):
    """Write the sums over `across` values to either side; `running` [nb + 1] is scratch.

    (As :func:`widened` near the ends.)
    """
    nb, total = len(column), np.int32(0)
    for b in range(nb):
        running[b] = total
        total += column[b]
    running[nb] = total
    reach = min(2 * across + 1, nb)
    first, last = reach // 2, reach // 2 + nb - reach
    inner, ahead = found[first:], running[reach:]
    for b in range(len(ahead)):
        inner[b] = ahead[b] - running[b]
    for b in range(first):
        found[b] = found[first]
    for b in range(last + 1, nb):
        found[b] = found[last]


@compiled(NONE, given(U8, 2), given(I64, 1), given(I64, 1), filled(U8, 2))
def window_worst(values, along, across, found):
    """Write the greatest in the window around each node."""
    scratch = np.empty((2, values.shape[1]), np.uint8)
    for r in range(values.shape[0]):
        row_worst(values, r, along[r], across[r], scratch, found[r])


@compiled(NONE, given(U16, 2), given(I64, 1), given(I64, 1), filled(I32, 2))
def window_sums(values, along, across, found):
    """Write the sum over the window around each node."""
    nr, nb = values.shape
    column, running = np.empty(nb, np.int32), np.empty(nb + 1, np.int32)
    for r in range(nr):
        for b in range(nb):
            column[b] = 0
        for other in range(r - along[r], r + along[r] + 1):
            row = values[min(max(other, 0), nr - 1)]
            for b in range(nb):
                column[b] += row[b]
        slide(column, across[r], running, found[r])
