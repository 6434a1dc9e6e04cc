"""What is painted and worn on the carriageway: lines, crossings, arrows, patches, cracks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from seg_perception.simulation.mesh import ROAD, Material, Mesh, quads_of_grid
from seg_perception.simulation.scene import Scene

WHITE = Material('paint', 'road_decal', ROAD)
YELLOW = Material('paint_yellow', 'road_decal', ROAD)


def _ribbon(scene, mesh, s0, s1, t, width, material=WHITE, tint=1.0) -> None:
    """Add a painted line of a width at t from s0 to s1, following the road."""
    rows = max(int(np.ceil((s1 - s0) / 3.0)), 1) + 1
    s = np.linspace(s0, s1, rows)
    sides = []
    for offset in (-width / 2, width / 2):
        x, y, _ = scene.road.at(s, t + offset)
        sides.append(np.stack([x, y, np.zeros(rows)], axis=1))
    uv = np.stack([np.stack([np.full(rows, k * 0.3), s / 1.7], axis=1) for k in (0.0, 1.0)])
    mesh.add(
        quads_of_grid(np.stack(sides)),
        material,
        uv=quads_of_grid(uv),
        normals=(0, 0, 1),
        tint=(tint,) * 3,
    )


def _stamp(scene, mesh, s, t, length, width, texture, turn=0.0, tint=1.0) -> None:
    """Add a picture lying on the road, its v axis along the road."""
    x, y, heading = (float(v) for v in scene.road.at(s, t))
    c, n = np.cos(heading + turn), np.sin(heading + turn)
    ahead, left = np.array([c, n]) * length / 2, np.array([-n, c]) * width / 2
    corners = [-ahead + left, -ahead - left, ahead - left, ahead + left]
    points = np.array([[(x + dx, y + dy, 0.0) for dx, dy in corners]])
    mesh.add(points, Material(texture, 'road_decal', ROAD), normals=(0, 0, 1), tint=(tint,) * 3)


def add_markings(scene: Scene, mesh: Mesh) -> None:
    """Add all decals of the carriageway to a mesh; wear first, paint over it."""
    rng = np.random.default_rng([scene.seed, 77])
    _wear(scene, mesh, rng)
    road, marks = scene.road, scene.marks
    dash = (3.0, 4.5) if rng.random() < 0.5 else (2.0, 4.0)
    width = float(rng.uniform(0.10, 0.15))
    _lane_lines(scene, mesh, dash, width)
    for k, side in enumerate((1, -1)):
        _edge_lines(scene, mesh, side, width, parking=road.parking[k] > 0)
    if marks['zebra'] is not None:
        _crossing(scene, mesh, marks['zebra'])
    _junctions(scene, mesh, width)
    if marks['arrows']:
        for s in np.arange(20, road.length, 55.0):
            for lane in range(road.lanes):
                for ahead in (True, False):
                    turn = 0.0 if ahead else np.pi
                    _stamp(scene, mesh, s, road.lane_centre(lane, ahead), 4.2, 1.0, 'arrow', turn)


def _lane_lines(scene: Scene, mesh: Mesh, dash: tuple[float, float], width: float) -> None:
    """Add the lines between lanes; ``dash`` is (painted, left out), m."""
    road, marks = scene.road, scene.marks
    busy = [(k.start - 1, k.end + 1) for k in road.side_streets]
    if marks['zebra'] is not None:
        busy.append((marks['zebra'] - 2.5, marks['zebra'] + 6.0))
    lines: list[tuple[float, str]] = []
    if marks['centre'] != 'none':
        lines.append((0.0, marks['centre']))
    for lane in range(1, road.lanes):
        lines += [(lane * road.lane_width, 'dashed'), (-lane * road.lane_width, 'dashed')]
    for t, kind in lines:
        if kind == 'dashed':
            for s in np.arange(road.start, road.length, sum(dash)):
                if not any(a < s + dash[0] and s < b for a, b in busy):
                    _ribbon(scene, mesh, s, s + dash[0], t, width)
            continue
        for offset in (-0.12, 0.12) if kind == 'double' else (0.0,):
            for a, b in _outside(busy, road.start, road.length):
                _ribbon(scene, mesh, a, b, t + offset, width)


def _outside(
    busy: Sequence[tuple[float, float]], start: float, end: float
) -> Iterator[tuple[float, float]]:
    """Yield what of start..end lies outside junctions and crossings."""
    cursor = start
    for a, b in sorted(busy):
        if b <= cursor or a >= end:
            continue
        if a > cursor:
            yield cursor, a
        cursor = b
    if cursor < end:
        yield cursor, end


def _edge_lines(scene: Scene, mesh: Mesh, side: int, width: float, *, parking: bool) -> None:
    road, edge = scene.road, scene.road.edge(side)
    for a, b in road.stretches(side):
        if parking:
            for s in np.arange(a + 2, b - 2, 2.2):
                _ribbon(scene, mesh, s, s + 1.1, side * (edge - 2.1), 0.1, tint=0.92)
        elif scene.marks['edge'] == 'double_yellow':
            for inset in (0.25, 0.45):
                _ribbon(scene, mesh, a, b, side * (edge - inset), 0.08, YELLOW)
        elif scene.marks['edge'] == 'solid':
            _ribbon(scene, mesh, a, b, side * (edge - 0.3), width)


def _crossing(scene: Scene, mesh: Mesh, s: float) -> None:
    road = scene.road
    for t in np.arange(-road.edge(-1) + 0.35, road.edge(1) - 0.3, 1.0):
        _ribbon(scene, mesh, s, s + 3.0, t + 0.25, 0.5)
    for ahead in (True, False):
        for lane in range(road.lanes):
            at = s - 1.6 if ahead else s + 4.6
            half = road.lane_width / 2 - 0.15
            t = road.lane_centre(lane, ahead)
            x = np.array(
                [
                    [at - 0.15, t - half],
                    [at - 0.15, t + half],
                    [at + 0.15, t + half],
                    [at + 0.15, t - half],
                ]
            )
            px, py, _ = road.at(x[:, 0], x[:, 1])
            mesh.add(
                np.stack([px, py, np.zeros(4)], axis=1)[None],
                WHITE,
                normals=(0, 0, 1),
                uv=[[0, 0], [1.7, 0], [1.7, 0.2], [0, 0.2]],
            )


def _junctions(scene: Scene, mesh: Mesh, width: float) -> None:
    """Give-way dashes where a side street meets the road."""
    for street in scene.road.side_streets:
        t = street.side * (scene.road.edge(street.side) + 0.2)
        for s in np.arange(street.start + 0.3, street.end - 0.5, 1.0):
            _ribbon(scene, mesh, s, s + 0.6, t, width * 1.5)
            _ribbon(scene, mesh, s, s + 0.6, t + street.side * 0.35, width * 1.5)


def _wear(scene: Scene, mesh: Mesh, rng: np.random.Generator) -> None:
    road = scene.road

    def across() -> float:
        return float(rng.uniform(-road.edge(-1) + 0.8, road.edge(1) - 0.8))

    for _ in range(int(road.length / rng.uniform(9, 30))):
        s = float(rng.uniform(road.start, road.length))
        texture = f'patch:{int(rng.integers(3))}'
        length = float(rng.choice([1.2, 2.5, 6.0, 14.0]))
        _stamp(
            scene,
            mesh,
            s,
            across(),
            length,
            float(rng.uniform(0.6, 2.2)),
            texture,
            0.0,
            float(rng.uniform(0.75, 1.15)),
        )
    for _ in range(int(road.length / rng.uniform(4, 14))):
        s = float(rng.uniform(road.start, road.length))
        turn = float(rng.choice([0, 0, np.pi / 2])) + float(rng.normal(0, 0.1))
        _stamp(
            scene,
            mesh,
            s,
            across(),
            float(rng.uniform(3, 7)),
            float(rng.uniform(1, 2)),
            f'crack:{int(rng.integers(6))}',
            turn,
        )
    for _ in range(int(road.length / 16)):
        s = float(rng.uniform(road.start, road.length))
        _stamp(scene, mesh, s, across(), 0.7, 0.7, f'manhole:{int(rng.integers(4))}', 0, 0.8)
