"""How long the stages of a frame took."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Timing:
    """Milliseconds a stage of the last frame took."""

    stages: dict[str, float] = field(default_factory=dict)

    def measure(self, stage: str, since: float) -> float:
        now = time.perf_counter()
        self.stages[stage] = (now - since) * 1e3
        return now
