"""Lays out a street from a seed: the random choices behind a scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from seg_perception.core.errors import SourceError
from seg_perception.simulation.road import KERB_WIDTH, Road, SideStreet
from seg_perception.simulation.scene import Barrier, Building, CameraRig, Light, Prop, Scene
from seg_perception.simulation.traffic import traffic

STYLES = ('high_street', 'terrace', 'suburb', 'avenue')


def random_scene(seed: int, *, length: float = 260.0, style: str | None = None) -> Scene:
    """Return the street that a seed stands for; ``length`` m of it lie ahead of the start.

    Raises:
        SourceError: the seed is negative, the length too short, or the style unknown.
    """
    if seed < 0 or length < 60:
        raise SourceError(
            f'no street for seed {seed} and length {length} m: use a seed from 0 and 60 m or more'
        )
    if style is not None and style not in STYLES:
        raise SourceError(f"no street style '{style}': choose one of {', '.join(STYLES)}")
    rng = np.random.default_rng([seed, 20])
    style = style or str(rng.choice(STYLES, p=[0.3, 0.3, 0.25, 0.15]))
    road = _road(rng, length, style)
    light = _light(rng)
    camera = _lens(
        np.random.default_rng([seed, 21]),
        CameraRig(
            height=float(rng.uniform(1.2, 1.75)),
            pitch=float(np.deg2rad(rng.normal(2.0, 1.8))),
            fov=float(np.deg2rad(rng.uniform(50, 80))),
        ),
    )
    lane = int(rng.integers(road.lanes))
    scene = Scene(
        seed,
        style,
        road,
        light,
        camera,
        ego_t=road.lane_centre(lane, True) + float(rng.normal(0, 0.15)),
        ego_speed=float(rng.uniform(6, 11)),
        marks=_marks(rng),
        frontage='grass' if style in ('suburb', 'avenue') else 'paving',
    )
    bare = rng.random() < 0.5
    scene = replace(scene, buildings=_buildings(rng, scene))
    scene = replace(scene, barriers=_barriers(rng, scene), props=_props(rng, scene, bare))
    return replace(scene, movers=traffic(rng, scene))


def _lens(rng: np.random.Generator, rig: CameraRig) -> CameraRig:
    """Return the rig leaning a little and, every third time, with a lens that distorts."""
    rig = replace(rig, roll=float(np.deg2rad(np.clip(rng.normal(0, 0.4), -1, 1))))
    if rng.random() < 0.66:
        return rig
    # Of a 16:9 picture's corner, in units of the focal length: the stronger its distortion may
    # be, the narrower the view, or the polynomial folds back within the picture.
    corner = 1.15 * np.tan(rig.fov / 2)
    k1 = -float(rng.uniform(0.02, 0.09) / corner**2)
    tangential = rng.normal(0, 4e-4, 2)
    return replace(rig, distortion=(k1, 0.15 * k1**2, *tangential.tolist(), 0.0))


def _road(rng: np.random.Generator, length: float, style: str) -> Road:
    bends, s = [], -20.0
    sharp = 0.011 if style != 'high_street' else 0.006
    while s < length:
        span = rng.uniform(60, 140)
        if rng.random() < 0.7:
            bends.append((s, span, float(rng.uniform(-1, 1) * sharp)))
        s += span * rng.uniform(0.7, 1.2)
    verge = rng.uniform(1.2, 4, 2) if style in ('suburb', 'avenue') else np.zeros(2)
    verge *= rng.random(2) < 0.7
    parked = rng.random(2) < (0.55 if style != 'avenue' else 0.15)
    streets, s = [], rng.uniform(25, 60)
    while s < length - 20:
        width = rng.uniform(6, 8.5)
        streets.append(SideStreet(int(rng.choice([-1, 1])), float(s), float(s + width)))
        s += rng.uniform(30, 90)
    return Road(
        length=length,
        lane_width=float(rng.uniform(2.9, 3.6)),
        lanes=2 if rng.random() < 0.22 else 1,
        parking=tuple((2.1 * parked).tolist()),
        verge=tuple(verge.tolist()),
        walk=tuple(rng.uniform(1.6, 4.0 if style == 'high_street' else 2.6, 2).tolist()),
        right_hand=bool(rng.random() < 0.5),
        bends=tuple(bends),
        side_streets=tuple(streets),
    )


def _light(rng: np.random.Generator) -> Light:
    kind = rng.choice(['clear', 'cloudy', 'bright', 'dull'], p=[0.34, 0.26, 0.22, 0.18])
    index = ['clear', 'cloudy', 'bright', 'dull'].index(kind)
    sun = {'clear': 1.0, 'cloudy': 0.85, 'bright': 0.12, 'dull': 0.0}[str(kind)]
    level = rng.uniform(0.44, 0.6) if sun > 0.5 else rng.uniform(0.8, 0.95)
    ambient = (level * 0.94, level, level * 1.08) if sun > 0.5 else (level,) * 3
    grey = {'clear': (200, 214, 228), 'cloudy': (206, 214, 222)}.get(str(kind), (214, 217, 220))
    if kind == 'dull':
        grey = (176, 180, 184)
    return Light(
        azimuth=float(rng.uniform(-np.pi, np.pi)),
        elevation=float(np.deg2rad(rng.uniform(18, 60))),
        sun=sun,
        ambient=tuple(float(v) for v in ambient),
        haze=tuple(float(v) for v in grey),
        haze_length=float(rng.uniform(220, 900)),
        sky=f'sky:{index + 4 * int(rng.integers(6))}',
        gain=float(rng.uniform(0.82, 1.2) * (0.8 if kind == 'dull' else 1.0)),
        contrast=float(rng.uniform(0.9, 1.15)),
        saturation=float(rng.uniform(0.65, 1.1)),
        warmth=float(rng.normal(0, 0.03)),
        noise=float(rng.uniform(0.8, 3.0)),
    )


def _marks(rng: np.random.Generator) -> dict:
    return {
        'centre': str(rng.choice(['dashed', 'solid', 'double', 'none'], p=[0.7, 0.1, 0.12, 0.08])),
        'edge': str(rng.choice(['none', 'solid', 'double_yellow'], p=[0.45, 0.3, 0.25])),
        'zebra': float(rng.uniform(15, 120)) if rng.random() < 0.45 else None,
        'arrows': bool(rng.random() < 0.4),
        'tone': float(rng.uniform(0.52, 0.82)),
        'wear': int(rng.integers(1 << 30)),
    }


def _buildings(rng: np.random.Generator, scene: Scene) -> tuple[Building, ...]:
    road, found = scene.road, []
    setback = {'high_street': 0.0, 'terrace': 1.6, 'suburb': 6.0, 'avenue': 14.0}[scene.style]
    for side in (1, -1):
        if scene.style == 'avenue' and rng.random() < 0.5:
            continue
        for s0, s1 in road.stretches(side, road.start, road.length):
            margin = 2.5 + setback * 0.4
            cursor = s0 + margin
            storeys = int(rng.integers(2, 5))
            while cursor < s1 - margin - 5:
                width = float(rng.choice([6, 9, 9, 12, 15, 18]))
                if scene.style == 'suburb':
                    width = float(rng.choice([6, 9, 12]))
                if cursor + width > s1 - margin:
                    break
                if scene.style == 'high_street':
                    storeys = int(rng.integers(2, 6))
                elif scene.style == 'suburb':
                    storeys = int(rng.integers(1, 4))
                else:
                    storeys = int(np.clip(storeys + rng.integers(-1, 2), 2, 4))
                shop = scene.style == 'high_street' and rng.random() < 0.75
                wall = int(rng.integers(12))
                found.append(
                    Building(
                        side,
                        cursor + width / 2,
                        side * (road.outer(side) + setback + float(rng.uniform(0, setback * 0.3))),
                        width,
                        float(rng.uniform(8, 13)),
                        storeys,
                        wall,
                        f'{"shop" if shop else "house"}:{wall + 12 * int(rng.integers(2))}',
                        'flat' if (shop and rng.random() < 0.6) or storeys > 3 else 'gable',
                        float(rng.integers(8)) / 4,
                    )
                )
                gap = {'high_street': 0.08, 'terrace': 0.12, 'suburb': 0.85, 'avenue': 0.6}
                cursor += width
                if rng.random() < gap[scene.style]:
                    cursor += float(rng.uniform(2, 9))
    return tuple(found)


def _barriers(rng: np.random.Generator, scene: Scene) -> tuple[Barrier, ...]:
    road, found = scene.road, []
    for side in (1, -1):
        for s0, s1 in road.stretches(side, road.start, road.length):
            t = side * (road.outer(side) + 0.15)
            if scene.style in ('suburb', 'avenue', 'terrace'):
                cursor = s0 + 1.5
                while cursor < s1 - 4:
                    span = min(float(rng.uniform(6, 18)), s1 - 1.0 - cursor)
                    kind = str(
                        rng.choice(
                            ['hedge', 'wall', 'planks', 'railing', 'none'],
                            p=[0.3, 0.22, 0.14, 0.14, 0.2],
                        )
                    )
                    if kind != 'none':
                        height = {'hedge': 1.4, 'wall': 0.9, 'planks': 1.6, 'railing': 1.1}[kind]
                        height *= float(rng.uniform(0.8, 1.25))
                        variant = int(rng.integers(12))
                        end = cursor + span - 0.2
                        found.append(Barrier(kind, cursor, end, t, height, variant))
                    cursor += span + float(rng.choice([0.0, 1.2, 3.0]))
            elif rng.random() < 0.3:
                a = s0 + rng.uniform(0, 0.4) * (s1 - s0)
                b = min(a + rng.uniform(8, 24), s1)
                kerb = side * (road.edge(side) + KERB_WIDTH + 0.35)
                found.append(Barrier('railing', float(a), float(b), kerb, 1.05))
    return tuple(found)


def _props(rng: np.random.Generator, scene: Scene, bare: bool) -> tuple[Prop, ...]:
    leaf = int(rng.integers(5))
    found: list[Prop] = []
    for side in (1, -1):
        found += _roadside_trees(rng, scene, side, bare, leaf)
        found += _street_furniture(rng, scene.road, side)
    found += _traffic_lights(rng, scene.road)
    found += _far_trees(rng, scene.road, leaf)
    return tuple(p for p in found if 'tree' not in p.kind or _free(scene, p))


def _roadside_trees(
    rng: np.random.Generator, scene: Scene, side: int, bare: bool, leaf: int
) -> Iterator[Prop]:
    """A row along the kerb, and what grows behind the pavement."""
    road = scene.road
    k_tree = {'high_street': 0.35, 'terrace': 0.45, 'suburb': 0.8, 'avenue': 1.0}[scene.style]
    kerb = road.edge(side) + KERB_WIDTH
    row = rng.random() < k_tree
    strip = road.verge[0 if side > 0 else 1]
    for s0, s1 in road.stretches(side, road.start, road.length):
        for s in np.arange(s0 + rng.uniform(3, 9), s1 - 3, rng.uniform(8, 15)):
            if row and rng.random() < 0.85:
                at = kerb + (strip / 2 if strip else 0.6)
                kind = 'bare_tree' if bare and rng.random() < 0.85 else 'tree'
                yield _tree(rng, kind, float(s), side * at, leaf)
        if scene.style not in ('suburb', 'avenue', 'terrace'):
            continue
        for _ in range(int((s1 - s0) / (9 if scene.style != 'avenue' else 4))):
            back = road.outer(side) + rng.uniform(1.5, 9 if scene.style == 'suburb' else 22)
            if scene.style == 'terrace':
                back += 16
            kind = 'bare_tree' if bare and rng.random() < 0.7 else 'tree'
            if kind == 'tree' and back > road.outer(side) + 8:
                kind = 'far_tree'
            yield _tree(rng, kind, float(rng.uniform(s0, s1)), side * back, leaf)


def _street_furniture(rng: np.random.Generator, road: Road, side: int) -> Iterator[Prop]:
    """Lamps at even steps; signs, bollards, bins and posts anywhere."""
    kerb = road.edge(side) + KERB_WIDTH
    lamp = float(rng.uniform(22, 34))
    for s in np.arange(road.start + rng.uniform(0, lamp), road.length, lamp):
        if not road.blocked(side, float(s)):
            scale = float(rng.uniform(0.85, 1.2))
            yield Prop('lamp', float(s), side * (kerb + 0.4), 0, scale, 0.0)
    for _ in range(int(road.length / rng.uniform(14, 30))):
        s = float(rng.uniform(road.start, road.length))
        if road.blocked(side, s):
            continue
        kinds, shares = ['sign', 'bollard', 'bin', 'post', 'sign'], [0.35, 0.2, 0.15, 0.1, 0.2]
        yield Prop(
            str(rng.choice(kinds, p=shares)),
            s,
            side * (kerb + rng.uniform(0.35, 0.7)),
            int(rng.integers(12)),
            float(rng.uniform(0.85, 1.15)),
            float(rng.normal(0, 0.15)),
        )


def _traffic_lights(rng: np.random.Generator, road: Road) -> Iterator[Prop]:
    """At both corners of half of the side streets."""
    for street in road.side_streets:
        if rng.random() >= 0.5:
            continue
        for side in (1, -1):
            kerb = road.edge(side) + KERB_WIDTH + 0.5
            s = street.start - 1.5 if side == -1 else street.end + 1.5
            if not road.blocked(side, s):
                turn = 0.0 if side == -1 else np.pi
                yield Prop('light', s, side * kerb, int(rng.integers(3)), 1.0, turn)


def _far_trees(rng: np.random.Generator, road: Road, leaf: int) -> Iterator[Prop]:
    """What closes the view behind the street and at its end."""
    for _ in range(70):
        s, side = float(rng.uniform(0, road.length + 40)), int(rng.choice([-1, 1]))
        yield _tree(rng, 'far_tree', s, side * float(rng.uniform(38, 85)), leaf)
    for t in np.arange(-70, 71, 7.0):
        yield _tree(rng, 'far_tree', road.length + float(rng.uniform(2, 20)), float(t), leaf)


def _tree(rng, kind: str, s: float, t: float, leaf: int) -> Prop:
    leafy = kind != 'bare_tree'
    variant = int(rng.integers(6)) + 10 * leaf if leafy else int(rng.integers(6))
    if leafy and rng.random() < 0.2:
        variant = int(rng.integers(50))
    return Prop(kind, s, t, variant, float(rng.uniform(0.7, 1.35)), float(rng.uniform(0, 6.28)))


def _free(scene: Scene, prop: Prop) -> bool:
    side = 1 if prop.t > 0 else -1
    if abs(prop.t) > scene.road.outer(side) and scene.road.blocked(side, prop.s, 2.0):
        return False
    for b in scene.buildings:
        if b.side == side and abs(b.s - prop.s) < b.width / 2 + 1.5:
            gap = abs(prop.t) - abs(b.t)
            if -1.2 < gap < b.depth + 1.5:
                return False
    return True
