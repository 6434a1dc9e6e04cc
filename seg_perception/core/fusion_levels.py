"""What a cell remembers, as one byte: log-odds in steps, and what the cell is taken for.

The steps are evenly spaced in the logarithm of the log-odds, so that exponential decay is one
step down at even times, and a frame's evidence is a look-up: which byte follows which, for each
kind of evidence, is worked out once from the options. So a frame costs an addition and a look-up
per cell, whatever the rules are.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from seg_perception.core.fusion_options import FusionOptions
from seg_perception.core.ground_observation import (
    EDGE,
    EVIDENCE,
    FREE,
    HIDDEN,
    LEFT,
    OCCUPIED,
    OCCUPIED_MOVING,
    REAR,
    UNKNOWN,
)

_MOST_STATES = 256 // EVIDENCE
#: Steps between "just known" and "most sure" on either side: as many as fit in.
_FINEST, _COARSEST = 16, 4
_LEAST_STEP = 0.05
_UNSURE_STEPS = 3  # below the least log-odds that is still taken for anything


@dataclass(frozen=True)
class State:
    """What is remembered of a cell.

    Attributes:
        log_odds: of being occupied.
        taken_for: UNKNOWN, FREE, OCCUPIED or OCCUPIED_MOVING.
    """

    log_odds: float = 0.0
    taken_for: int = UNKNOWN


@dataclass(frozen=True)
class Levels:
    """The states of cells and what follows what; a cell's byte is EVIDENCE * its state's number.

    Attributes:
        next: uint8 [256], byte + kind of the evidence -> byte, for a frame from another place
            than those before; still: the same for one from the same place.
        faded: bytes after a step of decay of what is free, what stands and what moves:
            three of uint8 [256].
        periods: s between these steps, three.
        taken_for: uint8 [256], byte -> UNKNOWN, FREE, OCCUPIED or OCCUPIED_MOVING.
    """

    next: np.ndarray
    still: np.ndarray
    faded: tuple[np.ndarray, ...]
    periods: tuple[float, float, float]
    taken_for: np.ndarray

    @classmethod
    def of(cls, options: FusionOptions) -> Levels:
        """Work them out."""
        states, steps = _finest_states(options)
        taken_for = np.zeros(256, np.uint8)
        next_ = np.zeros((2, 256), np.uint8)
        faded = np.zeros((3, 256), np.uint8)
        for number, state in enumerate(states):
            taken_for[EVIDENCE * number : EVIDENCE * (number + 1)] = state.taken_for
            for still, kind in itertools.product((False, True), range(EVIDENCE)):
                then = _nearest(states, state, _after(state, kind, options, still=still))
                next_[int(still), EVIDENCE * number + kind] = EVIDENCE * then
            for which, table in enumerate(faded):
                mine = _decays_as(state) == which
                then = _nearest(states, state, _fainter(state, steps, options)) if mine else number
                table[EVIDENCE * number] = EVIDENCE * then
        periods = (
            options.decay_free * steps[0],
            options.decay_static * steps[1],
            options.decay_moving * steps[1],
        )
        return cls(next_[0], next_[1], tuple(faded), periods, taken_for)


def _finest_states(options: FusionOptions) -> tuple[list[State], tuple[float, float]]:
    """Return the states, unknown first, and the logarithms of a step on either side."""
    for n in range(_FINEST, _COARSEST - 1, -1):
        free_step = _step(_most_free(options), _stay_free(options), n)
        occupied_step = _step(options.most, _stay_occupied(options), n)
        free = [_most_free(options) * math.exp(-free_step * k) for k in range(n + _UNSURE_STEPS)]
        occupied = [options.most * math.exp(-occupied_step * k) for k in range(n + _UNSURE_STEPS)]
        states = [State()]
        states += [State(-v, FREE) for v in free[: n + 1]]
        states += [State(-v) for v in free if v < options.free_at]
        for kind in (OCCUPIED, OCCUPIED_MOVING):
            states += [State(v, kind) for v in occupied[: n + 1]]
        states += [State(v) for v in occupied[n + 1 :]]
        if len(states) <= _MOST_STATES:
            break
    return states, (free_step, occupied_step)


def _step(most: float, least: float, n: int) -> float:
    return max(math.log(most / least) / n, _LEAST_STEP)


def _most_free(options: FusionOptions) -> float:
    return options.hit + options.miss


def _stay_free(options: FusionOptions) -> float:
    return options.hold * options.free_at


def _stay_occupied(options: FusionOptions) -> float:
    return options.hold * options.occupied_at


def _after(state: State, kind: int, options: FusionOptions, *, still: bool) -> State:
    """Return what is remembered of a cell after a frame that shows it so.

    Frames from the same place err alike about where something ends: only one from another place
    may take an obstacle back that begins right beside.
    """
    value = state.log_odds
    moves = state.taken_for == OCCUPIED_MOVING
    if kind in (OCCUPIED, OCCUPIED_MOVING):
        # An obstacle begins from "never seen free".
        return State(min(max(value, 0.0) + options.hit, options.most), kind)
    if kind in (FREE, LEFT):
        if moves:  # ground is seen where it stood: it has gone, surely if it is seen close by
            value = min(value, 0.0 if kind == LEFT else options.miss)
        value = max(value - options.miss, -_most_free(options))
    elif kind == EDGE and value <= 0:
        value = max(value - options.miss, -_most_free(options))
    elif kind == EDGE and not still:
        value = max(value - options.miss, 0.0)
    elif kind in (HIDDEN, REAR) and value < 0:
        # What moves may have moved in: when seen so twice, it is free no more.
        value = max(value, -options.free_at) + (1 - options.hold) * options.free_at * 0.7
    elif kind == HIDDEN and moves:  # it came nearer and hides where it was
        value = max(value - options.miss, 0.0)
    return State(value, _taken_for(value, state.taken_for, options))


def _taken_for(value: float, before: int, options: FusionOptions) -> int:
    """Return what a cell of such log-odds is taken for, with some persistence."""
    limit = _stay_free(options) if before == FREE else options.free_at
    if -value >= limit - 1e-9:
        return FREE
    if before >= OCCUPIED and value >= _stay_occupied(options) - 1e-9:
        return before
    return UNKNOWN


def _nearest(states: list[State], before: State, after: State) -> int:
    """Return the number of the state that is nearest to `after`: `before` only if it is that."""
    same = [i for i, s in enumerate(states) if s.taken_for == after.taken_for]
    if after == before:
        return states.index(before)
    rising = after.log_odds > before.log_odds
    # Small steps must not be rounded to none.
    moved = [
        i
        for i in same
        if states[i].taken_for != before.taken_for
        or (states[i] != before and (states[i].log_odds > before.log_odds) == rising)
    ]
    return min(moved or same, key=lambda i: abs(states[i].log_odds - after.log_odds))


def _decays_as(state: State) -> int:
    """Return 0, 1, 2: as what is free, what stands, what moves."""
    if state.taken_for == OCCUPIED_MOVING:
        return 2
    return int(state.log_odds > 0)


def _fainter(state: State, steps: tuple[float, float], options: FusionOptions) -> State:
    """Return the state one step of decay later."""
    value = state.log_odds * math.exp(-steps[int(state.log_odds > 0)])
    least = _stay_occupied(options) if value > 0 else _stay_free(options)
    if state.taken_for == UNKNOWN:
        least *= math.exp(-steps[int(value > 0)] * (_UNSURE_STEPS - 0.5))
        return State(value if abs(value) >= least else 0.0)
    kept = state.taken_for if abs(value) >= least * (1 - 1e-9) else UNKNOWN
    return State(value, kept)
