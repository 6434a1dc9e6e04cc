"""How frames of the ground add up, and what may interrupt that."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import Enum

from seg_perception.core.errors import GroundError


@dataclass(frozen=True)
class FusionOptions:
    """How frames add up.

    Attributes:
        hit, miss: log-odds by which one frame that shows a cell occupied (free) changes it.
        most: bound of the log-odds of an occupied cell; of a free one it is ``hit + miss``.
        free_at, occupied_at: log-odds beyond which a cell counts as free (below ``-free_at``)
            or occupied; it stays so until less than ``hold`` of that is left.
        hold: 0..1.
        decay_free, decay_static, decay_moving: s after which a free cell, one occupied by what
            stands still, and one occupied by what moves, keep 1/e of their log-odds.
        stale_after: s without a frame after which nothing is known any more.
        time_back: s by which a frame may be older than the newest one (another camera's);
            beyond that the clock has been set back.
        max_speed, max_turn_rate: m/s and rad/s; what moves faster has jumped.
    """

    hit: float = 1.8
    miss: float = 1.0
    most: float = 3.6
    free_at: float = 0.5
    occupied_at: float = 1.5
    hold: float = 0.4
    decay_free: float = 2.0
    decay_static: float = 8.0
    decay_moving: float = 1.0
    stale_after: float = 1.0
    time_back: float = 0.5
    max_speed: float = 70.0
    max_turn_rate: float = 6.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
                raise GroundError(f'fusion {item.name} must be a number above 0, got {value!r}')
        if self.hit + max(self.miss, self.most) > 16:
            raise GroundError('fusion hit, miss and most must add up to at most 16')
        if self.hold > 1:
            raise GroundError(f'fusion hold must be in 0..1, got {self.hold!r}')
        if self.hit < self.occupied_at:
            raise GroundError(
                f'fusion hit ({self.hit:g}) must be at least occupied_at '
                f'({self.occupied_at:g}): one frame must be enough to stop for'
            )
        if self.most < self.hit or self.hit + self.miss < self.free_at:
            raise GroundError(
                'fusion most must be at least hit, and hit + miss at least free_at: no cell '
                'would ever be occupied, or free'
            )


class FusionEvent(Enum):
    """What a frame did to the memory."""

    GOOD = 'good'
    JUMP = 'jump'  # the robot can't have moved so: everything before is forgotten
    TIME_BACK = 'time back'  # the clock was set back, or a bag loops: forgotten
    GAP = 'gap'  # silent for longer than stale_after: forgotten


@dataclass(frozen=True)
class FusionReport:
    """What became of a frame.

    Attributes:
        event: GOOD, or why everything before the frame was forgotten.
        reason: for people; '' when GOOD.
    """

    event: FusionEvent
    reason: str = ''

    @property
    def was_reset(self) -> bool:
        """Whether the memory was dropped."""
        return self.event is not FusionEvent.GOOD
