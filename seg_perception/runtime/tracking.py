"""The same number for the same object from picture to picture.

ByteTrack (Zhang et al., ECCV 2022: two rounds of matching by box overlap, with a Kalman filter)
comes from the package edgefirst-tracker: small, with wheels for x86-64 and ARM, and NumPy all it
needs. The `trackers` package, where supervision's ByteTrack went, pulls in opencv-python, which
must not lie beside opencv-python-headless.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from seg_perception.core.errors import ProviderError
from seg_perception.core.instances import MAX_ID, Found, Selection, select
from seg_perception.core.results import Instances

#: Share of the difference that a new box moves the filter by: measured on simulated motion with
#: drops and panning, a third of the switched ids of the library's own 0.25.
_UPDATE = 0.8


@dataclass(frozen=True)
class TrackingOptions:
    """How objects are recognised again.

    Attributes:
        min_score: objects below it may go on with a track, but begin none.
        min_overlap: least intersection over union of an object's box with where it is expected.
        memory: seconds for which an object that is not seen is remembered.
        max_id: ids run 1..max_id and then start again, leaving out those in use.
    """

    min_score: float = 0.5
    min_overlap: float = 0.25
    memory: float = 1.0
    max_id: int = 999

    def __post_init__(self) -> None:
        if not 1 <= self.max_id <= MAX_ID:
            raise ValueError(f'max_id must be in 1..{MAX_ID}, got {self.max_id}')


@dataclass
class _Number:
    """The id of a track and when it was last seen, in nanoseconds."""

    id: int
    seen: int


@dataclass
class Tracker:
    """Gives objects ids that last. Not thread-safe: one worker calls it.

    Each class is tracked for itself: of a cyclist, person and bicycle never swap ids. An object
    whose class the network takes for another gets a new id until it changes its mind.

    Raises:
        ProviderError: edgefirst-tracker is not installed; says how to get it.
    """

    options: TrackingOptions = field(default_factory=TrackingOptions)

    def __post_init__(self) -> None:
        self._engine = _import_tracker()
        self.reset()

    def reset(self) -> None:
        """Forget all objects: the clock has jumped, or the camera was away. Ids go on."""
        self._by_class: dict[int, Any] = {}
        self._numbers: dict[str, _Number] = {}
        self._next = getattr(self, '_next', 1)
        self._last = -1

    def update(self, instances: Instances, stamp: int) -> np.ndarray:
        """Return the ids of a picture's objects.

        Args:
            instances: the objects, at most ``max_id``.
            stamp: of the picture, in nanoseconds; must grow from call to call, or nearly.

        Returns:
            int32 [N], 1..max_id, no two alike.
        """
        if len(instances) > self.options.max_id:
            raise ValueError(f'{len(instances)} objects, but ids only up to {self.options.max_id}')
        # A picture that was overtaken on its way is a moment after the one before.
        stamp = self._last = max(stamp, self._last + 1)
        names = self._match(instances, stamp)
        self._forget(stamp)
        ids = np.zeros(len(instances), np.int32)
        taken = {number.id for number in self._numbers.values()}
        for i, name in enumerate(names):
            number = self._numbers.get(name) if name else None
            if number is None:
                number = _Number(self._free_id(taken), stamp)
                taken.add(number.id)
                if name:
                    self._numbers[name] = number
            number.seen = stamp
            ids[i] = number.id
        return ids

    def _match(self, instances: Instances, stamp: int) -> list[str | None]:
        """Return the library's name of each object's track, None for those it gives none."""
        names: list[str | None] = [None] * len(instances)
        # The filter is in units of the picture; a NaN would stay in it for good.
        boxes = instances.boxes / np.float32(max(instances.image_size))
        sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        for label in {*self._by_class, *instances.labels.tolist()}:
            of_class = np.flatnonzero((instances.labels == label) & sound)
            found = self._tracker(label).update(
                np.ascontiguousarray(boxes[of_class], np.float32),
                np.ascontiguousarray(instances.scores[of_class], np.float32),
                np.zeros(len(of_class), np.uintp),
                stamp,
            )
            for i, track in zip(of_class, found, strict=True):
                names[i] = None if track is None else track.uuid
        twice = {name for name in names if name and names.count(name) > 1}
        return [None if name in twice else name for name in names]

    def _tracker(self, label: int) -> Any:
        if label not in self._by_class:
            options = self.options
            self._by_class[label] = self._engine(
                high_conf=options.min_score,
                iou=options.min_overlap,
                update=_UPDATE,
                lifespan_ns=round(options.memory * 1e9),
            )
        return self._by_class[label]

    def _forget(self, stamp: int) -> None:
        """Let go of tracks that the library has let go of by now."""
        oldest = stamp - 2 * round(self.options.memory * 1e9)
        self._numbers = {k: n for k, n in self._numbers.items() if n.seen >= oldest}

    def _free_id(self, taken: set[int]) -> int:
        for _ in range(self.options.max_id):
            candidate = self._next
            self._next = candidate % self.options.max_id + 1
            if candidate not in taken:
                return candidate
        # All are remembered: forget the one unseen for longest.
        name = min(self._numbers, key=lambda k: self._numbers[k].seen)
        number = self._numbers.pop(name)
        return number.id


class TrackingSettings(Protocol):
    """What is used of the instance node's parameters, which say more of each."""

    @property
    def tracking(self) -> str: ...
    @property
    def track_min_score(self) -> float: ...
    @property
    def track_min_overlap(self) -> float: ...
    @property
    def track_memory(self) -> float: ...
    @property
    def track_max_id(self) -> int: ...


class Numbering:
    """Says which of a network's objects count, and numbers them.

    Lasting ids where objects are tracked, else 1..N of each picture. The live node and the
    offline replay run this same class.

    Args:
        settings: whether and how to track.

    Attributes:
        problem: why nothing is tracked although ``auto`` would; '' = nothing is wrong.

    Raises:
        ProviderError: tracking is 'on', and there is no tracker.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        self.problem = ''
        self._tracker: Tracker | None = None
        if settings.tracking == 'off':
            return
        options = TrackingOptions(
            min_score=settings.track_min_score,
            min_overlap=settings.track_min_overlap,
            memory=settings.track_memory,
            max_id=settings.track_max_id,
        )
        try:
            self._tracker = Tracker(options)
        except ProviderError as error:
            if settings.tracking == 'on':
                raise
            self.problem = str(error)

    @property
    def tracked(self) -> bool:
        """Whether ids last from picture to picture."""
        return self._tracker is not None

    def reset(self) -> None:
        """Forget all objects: the clock has jumped, or the camera was away."""
        if self._tracker is not None:
            self._tracker.reset()

    def number(self, instances: Instances, selection: Selection, stamp: int) -> Found:
        """Select a picture's objects and give them ids.

        Args:
            instances: all that the network gives.
            selection: what counts of it.
            stamp: of the picture, in nanoseconds.
        """
        instances, regions = select(instances, selection)
        if self._tracker is None:
            ids = np.arange(1, len(instances) + 1, dtype=np.int32)
        else:
            ids = self._tracker.update(instances, stamp)
        return Found(instances, regions, ids, self.tracked)


def _import_tracker() -> Any:
    try:
        from edgefirst.tracker import ByteTrack
    except (ImportError, OSError) as error:
        raise ProviderError(
            f'objects cannot be tracked ({error}): pip install edgefirst-tracker, or set '
            "'tracking' to off"
        ) from error
    return ByteTrack
