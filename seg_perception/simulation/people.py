"""Pedestrians and cyclists built from tapered limbs, in a few phases of their stride."""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np

from seg_perception.simulation.mesh import (
    BICYCLE,
    BICYCLIST,
    PEDESTRIAN,
    PERSON,
    Material,
    Mesh,
    ellipsoid,
    tube,
)
from seg_perception.simulation.scene import Mover

SKIN = [(0.86, 0.68, 0.56), (0.72, 0.52, 0.40), (0.48, 0.33, 0.25), (0.90, 0.74, 0.64)]
CLOTH = [
    (0.14, 0.15, 0.19),
    (0.30, 0.10, 0.12),
    (0.16, 0.24, 0.42),
    (0.55, 0.53, 0.50),
    (0.22, 0.32, 0.24),
    (0.75, 0.72, 0.68),
    (0.62, 0.20, 0.18),
    (0.36, 0.30, 0.24),
    (0.20, 0.20, 0.22),
    (0.80, 0.62, 0.20),
]
TROUSERS = [(0.12, 0.13, 0.17), (0.18, 0.22, 0.34), (0.28, 0.26, 0.24), (0.10, 0.10, 0.11)]
HAIR = [(0.10, 0.08, 0.07), (0.28, 0.19, 0.12), (0.52, 0.42, 0.28), (0.55, 0.55, 0.55)]
PHASES = 8


def stride_phase(mover: Mover, time: float) -> int:
    """Return the phase, 0..PHASES-1, that a pedestrian or cyclist is in at a time, s."""
    if mover.speed or mover.drift:
        distance = (abs(mover.speed) + abs(mover.drift)) * time
        cycle = 1.5 if mover.kind == 'pedestrian' else 4.5
        return int((distance / cycle + mover.instance * 0.37) * PHASES) % PHASES
    return (mover.instance % 2) * 4 if mover.kind == 'pedestrian' else 0


class _Figure:
    """Adds limbs of one label to a mesh; ``kind`` is the COCO category of what comes next."""

    def __init__(self, label: int, kind: int = PERSON):
        self.mesh = Mesh()
        self.label, self.kind = label, kind

    @property
    def material(self) -> Material:
        return Material('white', label=self.label, kind=self.kind)

    def limb(self, a, b, r0, r1, tint, sides=7):
        points, normals = tube(a, b, r0, r1, sides)
        self.mesh.add(points, self.material, normals=normals, tint=tint)

    def ball(self, centre, radii, tint, rows=5, columns=8):
        points, normals = ellipsoid(centre, radii, rows, columns)
        self.mesh.add(points, self.material, normals=normals, tint=tint)


def _choose(variant: int) -> tuple:
    rng = np.random.default_rng(variant)
    pick = [options[rng.integers(len(options))] for options in (SKIN, CLOTH, TROUSERS, HAIR)]
    return (*pick, rng)


@lru_cache(maxsize=256)
def pedestrian_mesh(variant: int, phase: int) -> Mesh:
    """Return a walker 1.7 m tall, x forward, feet at the origin; phase 0..PHASES-1."""
    skin, coat, legs, hair, rng = _choose(variant)
    figure = _Figure(PEDESTRIAN)
    swing = np.sin(2 * np.pi * phase / PHASES) * 0.42
    long_coat = rng.random() < 0.35
    for side, angle in ((1, swing), (-1, -swing)):
        hip = np.array([0, 0.09 * side, 0.88])
        knee = hip + 0.43 * np.array([np.sin(angle), 0, -np.cos(angle)])
        bend = angle - (0.5 if angle < 0 else 0.12)
        foot = knee + 0.41 * np.array([np.sin(bend), 0, -np.cos(bend)])
        figure.limb(hip, knee, 0.09, 0.065, legs)
        figure.limb(knee, foot, 0.065, 0.045, legs)
        figure.ball(np.add(foot, (0.06, 0, -0.01)), (0.13, 0.05, 0.05), (0.08, 0.07, 0.07), 3, 6)
        shoulder = np.array([0, 0.20 * side, 1.40])
        elbow = shoulder + 0.29 * np.array([-np.sin(angle) * 0.8, 0.12 * side, -1])
        hand = elbow + 0.26 * np.array([-np.sin(angle) * 0.8 + 0.25, 0, -0.95])
        figure.limb(shoulder, elbow, 0.058, 0.048, coat)
        figure.limb(elbow, hand, 0.048, 0.036, coat)
        figure.ball(hand, (0.045, 0.04, 0.055), skin, 3, 6)
    figure.ball((0, 0, 1.18), (0.125, 0.19, 0.34), coat, 6, 10)
    figure.ball((0, 0, 1.40), (0.10, 0.215, 0.10), coat, 4, 10)
    figure.limb((0, 0, 0.60 if long_coat else 0.82), (0, 0, 1.1), 0.175, 0.15, coat, 9)
    figure.limb((0, 0, 1.42), (0.01, 0, 1.54), 0.055, 0.05, skin)
    figure.ball((0.02, 0, 1.60), (0.092, 0.078, 0.115), skin, 6, 9)
    figure.ball((-0.012, 0, 1.635), (0.095, 0.088, 0.095), hair, 5, 9)
    if rng.random() < 0.3:
        figure.ball((-0.19, 0, 1.22), (0.10, 0.14, 0.20), CLOTH[rng.integers(len(CLOTH))])
    return figure.mesh


def _wheel(figure: _Figure, x: float, radius: float) -> None:
    angle = np.linspace(0, 2 * np.pi, 17)
    for r, thick, tint in ((radius, 0.022, (0.08, 0.08, 0.08)), (radius - 0.03, 0.01, (0.5,) * 3)):
        ring = np.stack([x + r * np.cos(angle), np.zeros(17), radius + r * np.sin(angle)], axis=1)
        for a, b in itertools.pairwise(ring):
            figure.limb(a, b, thick, thick, tint, 4)
    for k in range(0, 16, 2):
        end = [x + radius * np.cos(angle[k]), 0, radius + radius * np.sin(angle[k])]
        figure.limb([x, 0, radius], end, 0.006, 0.006, (0.45, 0.45, 0.45), 3)


@lru_cache(maxsize=128)
def cyclist_mesh(variant: int, phase: int) -> Mesh:
    """Return a rider on a bicycle, x forward, wheels on the ground; phase 0..PHASES-1."""
    skin, coat, legs, hair, rng = _choose(variant + 7919)
    figure = _Figure(BICYCLIST, BICYCLE)
    frame = CLOTH[rng.integers(len(CLOTH))]
    for x in (-0.52, 0.52):
        _wheel(figure, x, 0.34)
    seat, crank, head = (
        np.array([-0.2, 0, 0.92]),
        np.array([-0.05, 0, 0.30]),
        np.array([0.36, 0, 0.88]),
    )
    for a, b in (
        (crank, seat),
        (crank, head),
        (seat * [1, 1, 0.92], head * [1, 1, 0.97]),
        (crank, np.array([-0.52, 0, 0.34])),
        (np.array([0.52, 0, 0.34]), head),
        (seat * [1, 1, 0.9], np.array([-0.52, 0, 0.34])),
    ):
        figure.limb(a, b, 0.018, 0.018, frame, 5)
    figure.limb(
        np.add(head, (0.02, -0.26, 0.12)),
        np.add(head, (0.02, 0.26, 0.12)),
        0.014,
        0.014,
        (0.1,) * 3,
        5,
    )
    figure.ball(np.add(seat, (0, 0, 0.03)), (0.13, 0.07, 0.035), (0.06,) * 3, 3, 6)
    figure.kind = PERSON
    turn = 2 * np.pi * phase / PHASES
    for side, angle in ((1, turn), (-1, turn + np.pi)):
        pedal = np.add(crank, (0.16 * np.cos(angle), 0.1 * side, 0.16 * np.sin(angle)))
        hip = np.add(seat, (0.02, 0.09 * side, 0.08))
        knee = (hip + pedal) / 2 + [0.24, 0.02 * side, 0.08]
        figure.limb(hip, knee, 0.085, 0.062, legs)
        figure.limb(knee, np.add(pedal, (0, 0, 0.05)), 0.06, 0.042, legs)
        figure.ball(np.add(pedal, (0.04, 0, 0.03)), (0.12, 0.045, 0.045), (0.1, 0.1, 0.1), 3, 6)
        shoulder, hand = (
            np.array([0.12, 0.19 * side, 1.40]),
            np.add(head, (0.03, 0.24 * side, 0.14)),
        )
        elbow = (shoulder + hand) / 2 + [-0.04, 0.06 * side, -0.06]
        figure.limb(shoulder, elbow, 0.055, 0.046, coat)
        figure.limb(elbow, hand, 0.045, 0.034, coat)
        figure.ball(hand, (0.05, 0.04, 0.04), skin, 3, 6)
    figure.limb(np.add(seat, (0, 0, 0.05)), (0.1, 0, 1.42), 0.15, 0.17, coat, 10)
    figure.ball((0.1, 0, 1.40), (0.12, 0.20, 0.11), coat, 4, 10)
    figure.limb((0.12, 0, 1.42), (0.19, 0, 1.54), 0.05, 0.05, skin)
    figure.ball((0.22, 0, 1.60), (0.092, 0.08, 0.115), skin, 6, 9)
    helmet = (0.9, 0.9, 0.9) if rng.random() < 0.3 else hair
    figure.ball((0.19, 0, 1.645), (0.115, 0.095, 0.09), helmet, 5, 9)
    return figure.mesh
