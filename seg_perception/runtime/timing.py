"""How long the stages of a frame took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Timing:
    """Milliseconds a stage of the last frame took."""

    stages: dict[str, float] = field(default_factory=dict)

    def measure(self, stage: str, since: float) -> float:
        now = time.perf_counter()
        self.stages[stage] = (now - since) * 1e3
        return now

    def segmented(self, since: float, stages: Mapping[str, float]) -> None:
        """Note how long the network and what is around it took, in all and by stage."""
        self.measure('segment', since)
        self.stages.update(stages)
