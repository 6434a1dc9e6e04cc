"""A camera driven along a street: pictures, poses and truth, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import SourceError
from seg_perception.core.grid import pose_from_mounting
from seg_perception.simulation.layout import random_scene
from seg_perception.simulation.renderer import StreetRenderer
from seg_perception.simulation.scene import Scene

MARGIN = 90.0
"""What is built beyond the last frame's place, m: what the camera still sees."""


@dataclass(frozen=True)
class SimFrame:
    """One frame of a drive; everything is exact and of the same instant.

    Attributes:
        index, stamp: number from 0 and time in s since the first frame.
        image: uint8 [h,w,3] RGB.
        K, D: camera matrix [3,3] and distortion coefficients of ``image`` (zero: pinhole), by
            the ``distortion_model`` of the scene's camera.
        T_base_optical: 4x4 mounting, optical frame in ``base_link`` (REP 103).
        T_odom_base: 4x4 odometry, ``base_link`` (on the ground) in ``odom`` (the world).
        mask: uint8 [h,w] CamVid class ids, 255 unlabelled; None where truth was not asked for.
        instances: uint16 [h,w], 0 none, else the number of a vehicle or person; or None.
        kinds: uint8 [h,w], COCO category id of the thing (rider and bicycle apart), 0 none; or
            None.
        depth: float32 [h,w] m along the optical axis, inf in the sky; or None.
        ground: bool [h,w], the pixel shows ground and nothing that stands on it; or None.
        scene: the street it was taken in.
    """

    index: int
    stamp: float
    image: np.ndarray
    K: np.ndarray
    D: np.ndarray
    T_base_optical: np.ndarray
    T_odom_base: np.ndarray
    mask: np.ndarray | None
    instances: np.ndarray | None
    kinds: np.ndarray | None
    depth: np.ndarray | None
    ground: np.ndarray | None
    scene: Scene

    @property
    def camera(self) -> CameraModel:
        """The picture's calibration."""
        h, w = self.image.shape[:2]
        model = self.scene.camera.distortion_model
        return CameraModel.create(w, h, self.K, self.D, distortion_model=model)

    @property
    def T_odom_optical(self) -> np.ndarray:  # noqa: N802 - named as the transform it is
        """4x4 pose of the camera in the world."""
        return self.T_odom_base @ self.T_base_optical


def base_pose(scene: Scene, time: float) -> np.ndarray:
    """Return T_odom_base, 4x4: where ``base_link`` (on the ground, x forward) is at a time, s."""
    s = scene.ego_speed * time
    x, y, heading = (float(v) for v in scene.road.at(s, scene.ego_t))
    c, n = np.cos(heading), np.sin(heading)
    return np.array([[c, -n, 0, x], [n, c, 0, y], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def mounting(scene: Scene) -> np.ndarray:
    """Return T_base_optical, 4x4: the camera's constant place on the vehicle (REP 103)."""
    rig = scene.camera
    return pose_from_mounting(rig.x, 0.0, rig.height, rig.roll, rig.pitch, 0.0)


class Lens:
    """A camera of a size: its matrix, and the way from a pinhole picture to its distorted one."""

    def __init__(self, scene: Scene, width: int, height: int):
        rig = scene.camera
        fisheye = rig.distortion_model == 'equidistant'
        f = width / 2 / (rig.fov / 2 if fisheye else np.tan(rig.fov / 2))
        self.K = np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1.0]])
        least = {'equidistant': 4, 'rational_polynomial': 8}.get(rig.distortion_model, 5)
        self.D = np.zeros(max(least, len(rig.distortion)))
        self.D[: len(rig.distortion)] = rig.distortion
        self.size, self._model = (width, height), rig.distortion_model
        self.render_K, self.render_size, self._map = self.K, self.size, None
        if self.D.any() or fisheye:
            self._plan()

    def _plan(self) -> None:
        """Find a pinhole picture that holds every ray of the distorted one, and the map."""
        w, h = self.size
        u, v = np.meshgrid(np.arange(w, dtype=np.float64), np.arange(h, dtype=np.float64))
        camera = CameraModel.create(w, h, self.K, self.D, distortion_model=self._model)
        rays, valid = camera.rays(np.stack([u.ravel(), v.ravel()], axis=1))
        if not valid.all():
            raise SourceError(
                f'the lens with distortion {self.D.tolist()} has no rays for all its '
                f'{w}x{h} pixels: use weaker coefficients or a narrower field of view'
            )
        rays = rays[:, :2] / rays[:, 2:]
        low, high = rays.min(axis=0) - 2e-3, rays.max(axis=0) + 2e-3
        f = self.K[0, 0]
        size = np.ceil((high - low) * f).astype(int) + 1
        self.render_size = (int(size[0]), int(size[1]))
        if max(self.render_size) > 4 * max(self.size):
            raise SourceError('the distorted field of view is too wide to render as a pinhole')
        self.render_K = np.array([[f, 0, -low[0] * f], [0, f, -low[1] * f], [0, 0, 1.0]])
        at = (rays * f + self.render_K[:2, 2]).astype(np.float32).reshape(h, w, 2)
        self._map = at

    @property
    def truth_scale(self) -> int:
        """How much finer truth is drawn: a bent picture takes its nearest pixels."""
        return 1 if self._map is None else 3

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Return a rendered picture as the lens shows it."""
        if self._map is None:
            return picture
        return cv2.remap(picture, self._map, None, cv2.INTER_LINEAR)

    def take(self, truth: np.ndarray | None) -> np.ndarray | None:
        """Return rendered truth, drawn ``truth_scale`` times finer, as the lens shows it."""
        if truth is None or self._map is None:
            return truth
        n = self.truth_scale
        at = np.rint(self._map * n + (n - 1) / 2).astype(int)
        return truth[at[..., 1], at[..., 0]]


def scene_for(seed: int, seconds: float, *, style: str | None = None) -> Scene:
    """Return the street of a seed, long enough for a drive of some seconds."""
    length = max(260.0, 12.0 * seconds + MARGIN)
    return random_scene(seed, length=length, style=style)


class StreetCamera:
    """A camera on a vehicle that drives a street: a frame of any moment.

    Args:
        scene: the street.
        width, height: of the picture.
        truth: frames also carry mask, instances, kinds, depth and ground.
        supersample: 2 for a clean picture, 1 for a fast one.
        shake: vibration of the mount that no pose tells: standard deviation of the camera's
            pitch and roll, rad.

    Raises:
        SourceError: Panda3D is missing, or the lens cannot be drawn.
    """

    def __init__(
        self,
        scene: Scene,
        width: int,
        height: int,
        *,
        truth: bool = True,
        supersample: float = 2.0,
        shake: float = 0.0,
    ):
        self.scene, self.lens, self.place = scene, Lens(scene, width, height), mounting(scene)
        self._truth, self._shake = truth, shake
        self._renderer = StreetRenderer(
            scene,
            *self.lens.render_size,
            camera_matrix=self.lens.render_K,
            supersample=supersample,
            truth_scale=self.lens.truth_scale if truth else 1,
        )

    def frame(self, index: int, time: float, stamp: float) -> SimFrame:
        """Return the frame of a time in s since the scene's start; index and stamp as given."""
        lens, base = self.lens, base_pose(self.scene, time)
        where = base @ self.place @ _trembling(self.scene.seed, index, self._shake)
        seen = self._renderer.render(where, time, truth=self._truth, frame=index)
        return SimFrame(
            index,
            stamp,
            lens.apply(seen.image),
            lens.K,
            lens.D,
            self.place,
            base,
            lens.take(seen.mask),
            lens.take(seen.instances),
            lens.take(seen.kinds),
            lens.take(seen.depth),
            lens.take(seen.ground),
            self.scene,
        )

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()

    def __enter__(self) -> StreetCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def frames(
    seed: int | Scene,
    n: int,
    rate: float = 30.0,
    *,
    width: int = 1280,
    height: int = 720,
    start: float = 0.0,
    **options,
) -> Iterator[SimFrame]:
    """Drive a street and yield its frames.

    Args:
        seed: of the street, or a Scene of one's own.
        n: how many frames; rate: frames a second of simulated time.
        width, height: of the picture.
        start: time of the first frame, s.
        options: of :class:`StreetCamera`.

    Raises:
        SourceError: Panda3D is missing; a size, count or rate makes no sense.
    """
    if n < 1 or rate <= 0 or width < 32 or height < 32:
        raise SourceError(
            f'cannot simulate {n} frames of {width}x{height} at {rate}/s: use at least one frame, '
            'a positive rate and 32x32 pixels'
        )
    scene = scene_for(seed, start + n / rate) if isinstance(seed, int) else seed
    with StreetCamera(scene, width, height, **options) as camera:
        for index in range(n):
            yield camera.frame(index, start + index / rate, index / rate)


def _trembling(seed: int, index: int, shake: float) -> np.ndarray:
    """Return a small turn of the optical frame, 4x4, about its x (pitch) and z (roll)."""
    turn = np.eye(4)
    if shake:
        pitch, roll = np.random.default_rng([seed, 61, index]).normal(0, shake, 2)
        turn[:3, :3] = cv2.Rodrigues(np.array([pitch, 0.0, roll]))[0]
    return turn
