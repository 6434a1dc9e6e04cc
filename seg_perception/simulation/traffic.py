"""Parked and moving vehicles, pedestrians and cyclists of a street."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seg_perception.simulation.road import KERB_WIDTH
from seg_perception.simulation.scene import Mover, Scene
from seg_perception.simulation.vehicle_textures import OUTLINES, PAINTS
from seg_perception.simulation.vehicles import vehicle_size

_SHARES = (0.28, 0.24, 0.2, 0.14, 0.1, 0.04)
_LOOK_AHEAD = 20.0
"""Seconds over which somebody who crosses must stay clear of the traffic."""


def traffic(rng: np.random.Generator, scene: Scene) -> tuple[Mover, ...]:
    """Return everything that moves or could, apart from each other at the start, numbered."""
    found = [
        *_parked(rng, scene),
        *_driving(rng, scene),
        *_walking(rng, scene),
        *_riding(rng, scene),
    ]
    found = _apart(found)
    found += [m for m in _crossing(rng, scene) if _clear(m, found, scene)]
    return tuple(replace(m, instance=k + 1) for k, m in enumerate(found))


def _vehicle(rng: np.random.Generator, kinds: int = len(OUTLINES)) -> int:
    """Return an outline and paint; ``kinds`` keeps the large ones out."""
    share = np.array(_SHARES[:kinds])
    kind = int(rng.choice(kinds, p=share / share.sum()))
    return kind * 100 + int(rng.integers(len(PAINTS)))


def _parked(rng: np.random.Generator, scene: Scene) -> list[Mover]:
    road, found = scene.road, []
    for k, side in enumerate((1, -1)):
        if road.parking[k] <= 0:
            continue
        fill = rng.uniform(0.35, 0.95)
        yaw = 0.0 if (side == -1) == road.right_hand else np.pi
        s = road.start + 2
        while s < road.length - 6:
            variant = _vehicle(rng, 5)
            size = vehicle_size(variant)[0]
            if rng.random() < fill and not road.blocked(side, s + size / 2, 2 + size / 2):
                t = side * (road.edge(side) - 1.02 + float(rng.normal(0, 0.06)))
                turn = yaw + float(rng.normal(0, 0.02))
                found.append(Mover('vehicle', variant, s + size / 2, t, yaw=turn))
            s += size + float(rng.uniform(0.6, 1.6))
    return found


def _driving(rng: np.random.Generator, scene: Scene) -> list[Mover]:
    """Lanes of vehicles, each lane at one speed, so that nobody runs into anybody."""
    road, found = scene.road, []
    for lane in range(road.lanes):
        for ahead in (True, False):
            t = road.lane_centre(lane, ahead)
            own = ahead and abs(t - scene.ego_t) < 1.2
            pace = float(rng.uniform(5, 12))
            s = float(rng.uniform(-15, 25))
            if own:
                pace = scene.ego_speed * float(rng.uniform(1.0, 1.06))
                s = float(rng.uniform(10, 30))
            while s < road.length + (0 if ahead else 60):
                variant = _vehicle(rng)
                place = t + float(rng.normal(0, 0.1))
                found.append(Mover('vehicle', variant, s, place, pace if ahead else -pace))
                s += vehicle_size(variant)[0] + float(rng.gamma(2.0, 14.0)) + 6
    return found


def _walking(rng: np.random.Generator, scene: Scene) -> list[Mover]:
    road, found = scene.road, []
    for _ in range(int(rng.integers(8, 40 if scene.style == 'high_street' else 20))):
        side = int(rng.choice([-1, 1]))
        low = road.edge(side) + KERB_WIDTH + road.verge[0 if side > 0 else 1] + 0.5
        t = side * float(rng.uniform(low, max(road.outer(side) - 0.4, low + 0.1)))
        pace = float(rng.choice([-1, 1]) * rng.uniform(0.9, 1.6)) * (rng.random() < 0.8)
        found.append(
            Mover(
                'pedestrian',
                int(rng.integers(40)),
                float(rng.uniform(4, road.length)),
                t,
                pace,
                yaw=float(rng.normal(0, 0.2)) if pace else float(rng.uniform(0, 6)),
                scale=float(rng.uniform(0.9, 1.08)),
            )
        )
    return found


def _crossing(rng: np.random.Generator, scene: Scene) -> list[Mover]:
    road, zebra = scene.road, scene.marks.get('zebra')
    found = []
    for _ in range(int(rng.integers(1, 5)) + (4 if zebra else 0)):
        side = int(rng.choice([-1, 1]))
        s = (zebra + float(rng.uniform(0.4, 2.6))) if zebra else float(rng.uniform(14, 90))
        found.append(
            Mover(
                'pedestrian',
                int(rng.integers(40)),
                s,
                side * float(rng.uniform(-1, road.edge(side) + 6)),
                0.0,
                -side * float(rng.uniform(0.9, 1.4)),
                yaw=-side * np.pi / 2,
                scale=float(rng.uniform(0.9, 1.08)),
            )
        )
    return found


def _riding(rng: np.random.Generator, scene: Scene) -> list[Mover]:
    road, found = scene.road, []
    for _ in range(int(rng.integers(0, 5))):
        ahead = bool(rng.random() < 0.6)
        side = 1 if ahead != road.right_hand else -1
        t = side * (road.lane_width * road.lanes - 0.25)
        pace = float(rng.uniform(3, 6)) * (1 if ahead else -1)
        found.append(Mover('cyclist', int(rng.integers(30)), float(rng.uniform(6, 90)), t, pace))
    return found


def _meet(a: Mover, b: Mover, time: np.ndarray | float, margin: float) -> bool:
    """Return whether two movers' footprints touch, within a margin (m), at any of the times."""
    ds = np.abs(a.s + a.speed * time - b.s - b.speed * time)
    dt = np.abs(a.t + a.drift * time - b.t - b.drift * time)
    (la, wa), (lb, wb) = a.footprint, b.footprint
    return bool(np.any((ds < (la + lb) / 2 + margin) & (dt < (wa + wb) / 2 + margin)))


def _apart(movers: list[Mover]) -> list[Mover]:
    """Drop movers that would begin inside another (earlier ones stay)."""
    kept: list[Mover] = []
    for mover in movers:
        if not any(_meet(mover, other, 0.0, 0.25) for other in kept):
            kept.append(mover)
    return kept


def _clear(mover: Mover, others: list[Mover], scene: Scene) -> bool:
    """Return whether somebody crosses without being run over, by the camera's car either."""
    time = np.arange(0, _LOOK_AHEAD, 0.1)
    ego = Mover('vehicle', 0, -1.5, scene.ego_t, scene.ego_speed)
    return not any(_meet(mover, other, time, 0.5) for other in [*others, ego])
