"""The cameras of one node behind its one worker: turn by turn, or at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from seg_perception.nodes.frame_handler import CameraJob, FrameHandler
from seg_perception.ros.images import Frame
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.runtime.semantic import SemanticSegmenter
from seg_perception.runtime.timing import Timing


class CameraSet:
    """The handlers of all cameras behind the one worker.

    Args:
        handlers: one a camera.
        segmenter: the network that they share.
        timing: of the frames.
        waiting: takes all frames that wait from the worker.
    """

    def __init__(
        self,
        handlers: Sequence[FrameHandler],
        segmenter: SemanticSegmenter,
        timing: Timing,
        waiting: Callable[[], list[CameraJob]],
    ) -> None:
        self._handlers = {handler.camera: handler for handler in handlers}
        self._segmenter = segmenter
        self._timing = timing
        self._waiting = waiting

    def __getitem__(self, camera: str) -> FrameHandler:
        return self._handlers[camera]

    @property
    def parameters(self) -> SegmentationParameters:
        """The parameters in force; setting them may raise what speaks against them."""
        return next(iter(self._handlers.values())).parameters

    @parameters.setter
    def parameters(self, parameters: SegmentationParameters) -> None:
        for handler in self._handlers.values():
            handler.parameters = parameters

    def open(self) -> None:
        """Publish what frames become, from the next one on."""
        for handler in self._handlers.values():
            handler.open()

    def close(self) -> None:
        """Drop the frame in work."""
        for handler in self._handlers.values():
            handler.close()

    def handle(self, job: CameraJob) -> None:
        """Work on a frame of the camera that it names, and on those that wait if that is faster.

        None waits for another to come.
        """
        others = self._waiting() if self._segmenter.batches else []
        if others:
            self._handle_together([job, *others])
        else:
            self._handlers[job.camera].handle(job)

    def _handle_together(self, jobs: list[CameraJob]) -> None:
        frames = [(job, self._begin(job)) for job in jobs]
        begun = [(job, frame) for job, frame in frames if frame is not None]
        start = time.perf_counter()
        try:
            results = self._segmenter.segment_batch([(f.pixels, f.color) for _, f in begun])
        except Exception as error:  # of which one, nobody knows
            for job, _ in begun:
                self.failed(job, error)
            return
        self._timing.segmented(start, self._segmenter.last_timing)
        for (job, frame), result in zip(begun, results, strict=True):
            try:
                self._handlers[job.camera].finish(job, frame, result)
            except Exception as error:  # the worker would tell it of the first camera
                self.failed(job, error)

    def _begin(self, job: CameraJob) -> Frame | None:
        try:
            return self._handlers[job.camera].begin(job)
        except Exception as error:
            self.failed(job, error)
            return None

    def failed(self, job: CameraJob, error: Exception) -> None:
        """Report an error nobody foresaw."""
        self._handlers[job.camera].failed(job, error)
