"""A street as a seeded description: what stands where, under which light, seen by which camera."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from seg_perception.simulation.mesh import pose
from seg_perception.simulation.road import KERB_HEIGHT, Road
from seg_perception.simulation.vehicles import vehicle_size


@dataclass(frozen=True)
class Light:
    """Sun, sky and the camera's answer to them.

    Attributes:
        azimuth, elevation: of the sun, rad in the world frame.
        sun: its strength, 0 overcast .. 1 clear.
        ambient: RGB share of full light that reaches shadows, 0..1.
        haze: RGB 0..255 that distance fades into, over ``haze_length`` m.
        gain: exposure; contrast, saturation around 1; warmth shifts red against blue.
        noise: sensor noise, grey levels.
    """

    azimuth: float
    elevation: float
    sun: float
    ambient: tuple[float, float, float]
    haze: tuple[float, float, float]
    haze_length: float
    sky: str
    gain: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    warmth: float = 0.0
    noise: float = 1.5

    @property
    def direction(self) -> np.ndarray:
        """Unit vector towards the sun, [3]."""
        c = np.cos(self.elevation)
        return np.array(
            [c * np.cos(self.azimuth), c * np.sin(self.azimuth), np.sin(self.elevation)]
        )


@dataclass(frozen=True)
class CameraRig:
    """The camera on the vehicle: mounting over ``base_link`` on the ground, and its lens.

    Attributes:
        height: m; pitch: rad, > 0 looks down; x: m ahead of base_link; roll: rad, > 0 leans
            right; fov: horizontal, rad, of the lens without its distortion.
        distortion: coefficients of the lens, empty for a pinhole (plumb_bob).
        distortion_model: plumb_bob, rational_polynomial or equidistant, as in CameraInfo.
    """

    height: float = 1.45
    pitch: float = 0.03
    x: float = 0.0
    fov: float = float(np.deg2rad(68))
    distortion: tuple[float, ...] = ()
    distortion_model: str = 'plumb_bob'
    roll: float = 0.0


@dataclass(frozen=True)
class Building:
    """A building beside the road: s, t of its front's middle, size in m, looks."""

    side: int
    s: float
    t: float
    width: float
    depth: float
    storeys: int
    wall: int
    ground_floor: str
    roof: str
    shift: float = 0.0

    @property
    def height(self) -> float:
        """Height of the eaves, m."""
        return 3.2 + 3.0 * (self.storeys - 1)


@dataclass(frozen=True)
class Prop:
    """Something that stands: kind (tree, bare_tree, lamp, sign, light, bollard, ...) at s, t."""

    kind: str
    s: float
    t: float
    variant: int = 0
    scale: float = 1.0
    yaw: float = 0.0


@dataclass(frozen=True)
class Barrier:
    """A fence, wall, railing or hedge along the road from s0 to s1 at t, height in m."""

    kind: str
    s0: float
    s1: float
    t: float
    height: float
    variant: int = 0


@dataclass(frozen=True)
class Mover:
    """A vehicle, pedestrian or cyclist.

    Attributes:
        kind: 'vehicle', 'pedestrian' or 'cyclist'; variant: which.
        s, t: at time 0; speed: m/s along the road, negative against it.
        drift: m/s across the road (someone crossing).
        yaw: offset from the road's heading, rad. instance: scene-wide number, from 1.
    """

    kind: str
    variant: int
    s: float
    t: float
    speed: float = 0.0
    drift: float = 0.0
    yaw: float = 0.0
    scale: float = 1.0
    instance: int = 0

    def at(self, time: float) -> tuple[float, float, float]:
        """Return s, t (m) and the angle (rad) to the road's heading at a time in s."""
        backwards = self.speed < 0
        return (
            self.s + self.speed * time,
            self.t + self.drift * time,
            self.yaw + (np.pi if backwards else 0.0),
        )

    @property
    def footprint(self) -> tuple[float, float]:
        """Length and width on the ground, m."""
        if self.kind == 'vehicle':
            return vehicle_size(self.variant)[:2]
        return (1.75, 0.55) if self.kind == 'cyclist' else (0.55 * self.scale, 0.5 * self.scale)


@dataclass(frozen=True)
class Scene:
    """A whole street. ``ego`` is the camera's car: its lane t and speed (m/s) along the road."""

    seed: int
    style: str
    road: Road
    light: Light
    camera: CameraRig
    buildings: tuple[Building, ...] = ()
    props: tuple[Prop, ...] = ()
    barriers: tuple[Barrier, ...] = ()
    movers: tuple[Mover, ...] = ()
    ego_t: float = 0.0
    ego_speed: float = 8.0
    marks: dict = field(default_factory=dict)
    frontage: str = 'paving'


def mover_pose(scene: Scene, mover: Mover, time: float) -> tuple[np.ndarray | None, float]:
    """Return the 4x4 pose and yaw (rad) of a mover at a time, None once it left the street."""
    s, t, turn = mover.at(time)
    road = scene.road
    if not road.start + 1 < s < road.length - 1:
        return None, 0.0
    x, y, heading = (float(v) for v in road.at(s, t))
    side = 1 if t > 0 else -1
    z = KERB_HEIGHT if abs(t) > road.edge(side) else 0.0
    return pose(x, y, z, heading + turn), heading + turn
