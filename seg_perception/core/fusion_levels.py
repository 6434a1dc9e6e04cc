"""What a cell remembers, as one byte: log-odds in steps, and what the cell is taken for.

The steps are evenly spaced in the logarithm of the log-odds, so that exponential decay is one
step down at even times, and a frame's evidence is a look-up: which byte follows which, for each
kind of evidence, is worked out once from the options. So a frame costs an addition and a look-up
per cell, whatever the rules are.

Frames from one place are no independent evidence: they err alike about where a thing ends, and
where the camera's mount trembles, the cells along the thing's outline are seen as now this, now
that. So a frame from the same place as those before has rules of its own (``_after_again``): a
cell that was seen both ways is contested, and doesn't change again until something is seen that
a trembling can't explain. What never waits for that: an obstacle shows in the first frame that
sees it, whatever was there before.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

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
        contested: frames from one place do not agree about it.
    """

    log_odds: float = 0.0
    taken_for: int = UNKNOWN
    contested: bool = False


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
                after = (_after_again if still else _after)(state, kind, options)
                then = _nearest(states, state, after)
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
        states += dict.fromkeys(_Contested.of(options))
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


class _Contested(NamedTuple):
    """The contested states; of two of a sort the first decays to the second.

    Attributes:
        lost: unknown, and occupied a moment ago.
        free, hardly_free: occupied a moment ago.
        outline, faint: occupied by what could move; it ends about here.
    """

    lost: State
    free: State
    hardly_free: State
    outline: State
    faint: State

    @classmethod
    def of(cls, options: FusionOptions) -> _Contested:
        free, occupied = _stay_free(options), _stay_occupied(options)
        return cls(
            State(0.0, UNKNOWN, contested=True),
            *(State(-v, FREE, contested=True) for v in (options.free_at, free)),
            *(State(v, OCCUPIED_MOVING, contested=True) for v in (options.hit, occupied)),
        )


def _after(state: State, kind: int, options: FusionOptions) -> State:
    """Return what is remembered of a cell after a frame from another place that shows it so."""
    value = state.log_odds
    moves = state.taken_for == OCCUPIED_MOVING
    if kind in (OCCUPIED, OCCUPIED_MOVING):
        # An obstacle begins from "never seen free".
        return State(min(max(value, 0.0) + options.hit, options.most), kind)
    if kind in (FREE, LEFT):
        if moves:  # ground is seen where it stood: it has gone, surely if it is seen close by
            value = min(value, 0.0 if kind == LEFT else options.miss)
        value = max(value - options.miss, -_most_free(options))
    elif kind == EDGE:
        value = max(value - options.miss, 0.0 if value > 0 else -_most_free(options))
    elif kind in (HIDDEN, REAR) and value < 0:
        # What moves may have moved in: when seen so twice, it is free no more.
        value = max(value, -options.free_at) + (1 - options.hold) * options.free_at * 0.7
    elif kind == HIDDEN and moves:  # it came nearer and hides where it was
        value = max(value - options.miss, 0.0)
    return State(value, _taken_for(value, state.taken_for, options))


def _after_again(state: State, kind: int, options: FusionOptions) -> State:
    """Return the same after a frame from the place of those before.

    Only a frame from another place may take an obstacle back that begins right beside.
    """
    before, known = state.taken_for, _Contested.of(options)
    if kind in (OCCUPIED, OCCUPIED_MOVING):
        return _stands(state, kind, options)
    if state.contested:
        return _still_contested(state, kind, options)
    if kind == EDGE and state.log_odds > 0:
        return known.outline if before == OCCUPIED_MOVING else state
    then = _after(state, kind, options)
    if before >= OCCUPIED and then.taken_for < OCCUPIED:
        return known.free if then.taken_for == FREE else known.lost
    if kind in (HIDDEN, REAR) and then.taken_for == UNKNOWN and then.log_odds <= 0:
        return State(_stay_occupied(options) / 2)  # rather occupied, which no EDGE takes back
    return then


def _stands(state: State, kind: int, options: FusionOptions) -> State:
    """Return what an obstacle, seen from the place of the frames before, makes of a cell."""
    before, known = state.taken_for, _Contested.of(options)
    if state.contested and before < OCCUPIED:
        return State(options.most, OCCUPIED)  # it is back so soon: it had never gone
    hidden = before == UNKNOWN and state.log_odds > 0
    if kind == OCCUPIED_MOVING and (state.contested or hidden):
        return known.outline
    then = _after(state, kind, options)
    return State(then.log_odds, OCCUPIED) if before == OCCUPIED else then


def _still_contested(state: State, kind: int, options: FusionOptions) -> State:
    """Return what a frame without an obstacle, from the same place, makes of a contested cell."""
    known = _Contested.of(options)
    gone = known.free if options.miss >= options.free_at else State(-options.miss)
    if state.taken_for == OCCUPIED_MOVING:
        if kind in (FREE, LEFT):
            return gone if state == known.faint else known.faint
        # Within reach of where the thing seems to end, now: no need to forget that it was here.
        return known.outline if kind == REAR else state
    if kind in (FREE, LEFT) and state == known.lost:
        return gone
    return known.lost if kind in (HIDDEN, REAR) else state


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
    if after in states:
        return states.index(after)
    same = [i for i, s in enumerate(states) if _sort(s) == _sort(after)]
    rising = after.log_odds > before.log_odds
    # Small steps must not be rounded to none.
    moved = [
        i
        for i in same
        if _sort(states[i]) != _sort(before)
        or (states[i] != before and (states[i].log_odds > before.log_odds) == rising)
    ]
    return min(moved or same, key=lambda i: abs(states[i].log_odds - after.log_odds))


def _sort(state: State) -> tuple[int, bool]:
    return state.taken_for, state.contested


def _decays_as(state: State) -> int:
    """Return 0, 1, 2: as what is free, what stands, what moves."""
    if state.taken_for == OCCUPIED_MOVING and not state.contested:
        return 2
    return int(state.log_odds > 0)


def _fainter(state: State, steps: tuple[float, float], options: FusionOptions) -> State:
    """Return the state one step of decay later."""
    if state.contested:
        known = _Contested.of(options)
        then = {known.free: known.hardly_free, known.outline: known.faint}.get(state, state)
        return State(state.log_odds, state.taken_for) if then == state else then
    value = state.log_odds * math.exp(-steps[int(state.log_odds > 0)])
    least = _stay_occupied(options) if value > 0 else _stay_free(options)
    if state.taken_for == UNKNOWN:
        least *= math.exp(-steps[int(value > 0)] * (_UNSURE_STEPS - 0.5))
        return State(value if abs(value) >= least else 0.0)
    kept = state.taken_for if abs(value) >= least * (1 - 1e-9) else UNKNOWN
    return State(value, kept)
