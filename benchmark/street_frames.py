"""The drives on which grids are judged: rendered once, kept in a folder, read from there.

What is kept depends on the simulator's own source: change it, and the drives are drawn anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from seg_perception.core.camera import CameraModel
from seg_perception.core.grid import GridSpec
from seg_perception.simulation import drive as simulator
from seg_perception.simulation.truth import GroundTruth, Viewpoint, ground_truth

#: 400 x 200 cells: 0..40 m ahead, 10 m to either side.
GRID = GridSpec(0.1, 0.0, 40.0, -10.0, 10.0)
SIZE = (1280, 720)
RATE = 10.0
#: Streets of no training set: those of `simulate --dataset --seed s` begin at s * 100000.
FIRST_SEED = 900_000
#: Frames of a street stood in before its flicker is scored: what remembers has to fill up first.
SETTLING = 10
#: Pitch and roll of a standing vehicle's camera tremble by so much (rad): an engine runs.
SHAKE = float(np.deg2rad(0.04))
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 98]


@dataclass(frozen=True)
class Drive:
    """Some frames in one street.

    Attributes:
        seed: of the street; frames: how many; start: time of the first, s.
        still: nothing moves, the camera neither, but for its trembling.
        size: width and height of the pictures.
    """

    seed: int
    frames: int
    start: float = 0.0
    still: bool = False
    size: tuple[int, int] = SIZE

    def scene(self) -> simulator.Scene:
        """Return the street."""
        scene = simulator.scene_for(self.seed, self.start + self.frames / RATE)
        if not self.still:
            return scene
        parked = tuple(replace(m, speed=0.0, drift=0.0) for m in scene.movers)
        return replace(scene, movers=parked, ego_speed=0.0)


@dataclass(frozen=True)
class StreetFrame:
    """One frame with its truth.

    Attributes:
        image: uint8 [h,w,3] RGB; mask: uint8 [h,w], CamVid ids.
        camera: calibration; T_base_optical, T_odom_base: 4x4. stamp: s.
        truth: on ``GRID`` in base_link; None in a street stood in.
    """

    image: np.ndarray
    mask: np.ndarray
    camera: CameraModel
    T_base_optical: np.ndarray
    T_odom_base: np.ndarray
    stamp: float
    truth: GroundTruth | None


def plan(frames: int, drives: int = 8, size: tuple[int, int] = SIZE) -> list[Drive]:
    """Return drives of ``frames`` frames in all, and half as many streets to stand in."""
    shares = [frames // drives + (k < frames % drives) for k in range(drives)]
    moving = [
        Drive(FIRST_SEED + k, n, 1.0 + 0.5 * k, size=size) for k, n in enumerate(shares) if n
    ]
    still = SETTLING + max(frames // 20, 2)
    return moving + [
        Drive(FIRST_SEED + 50 + k, still, still=True, size=size)
        for k in range(max(len(moving) // 2, 1))
    ]


def frames_of(
    drive: Drive, folder: Path, progress: Callable[[int], None] | None = None
) -> Iterator[StreetFrame]:
    """Yield a drive's frames, from the folder where they are kept, else rendered into it.

    Args:
        progress: called with 1 after each rendered frame.
    """
    home = (
        folder / f'{drive.seed}_{drive.frames}{"_still" if drive.still else ""}_{_digest(drive)}'
    )
    if not (home / 'drive.json').is_file():
        _render(drive, home, progress)
    facts = json.loads((home / 'drive.json').read_text(encoding='utf-8'))
    camera = CameraModel.create(
        *drive.size, facts['K'], facts['D'], distortion_model=facts['distortion_model']
    )
    for index in range(drive.frames):
        cells = None
        if not drive.still:
            with np.load(home / f'{index:03d}.npz') as truth:
                cells = GroundTruth(**{name: truth[name] for name in truth.files})
        yield StreetFrame(
            cv2.cvtColor(cv2.imread(str(home / f'{index:03d}.jpg')), cv2.COLOR_BGR2RGB),
            cv2.imread(str(home / f'{index:03d}.png'), cv2.IMREAD_UNCHANGED),
            camera,
            np.array(facts['T_base_optical']),
            np.array(facts['T_odom_base'][index]),
            index / RATE,
            cells,
        )


def _render(drive: Drive, home: Path, progress: Callable[[int], None] | None) -> None:
    scene = drive.scene()
    home.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f'{home.name}.', dir=home.parent))
    poses, frame = [], None
    shake = SHAKE if drive.still else 0.0
    width, height = drive.size
    for frame in simulator.frames(
        scene, drive.frames, RATE, width=width, height=height, start=drive.start, shake=shake
    ):
        stem = making / f'{frame.index:03d}'
        cv2.imwrite(f'{stem}.jpg', cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR), _QUALITY)
        cv2.imwrite(f'{stem}.png', frame.mask)
        if not drive.still:
            view = Viewpoint(frame.camera, frame.T_odom_optical, frame.depth, frame.ground)
            time = drive.start + frame.stamp
            truth = ground_truth(scene, time, GRID, frame.T_odom_base, view)
            np.savez_compressed(f'{stem}.npz', **vars(truth))
        poses.append(frame.T_odom_base.tolist())
        if progress:
            progress(1)
    facts = {
        'K': frame.K.tolist(),
        'D': frame.D.tolist(),
        'distortion_model': scene.camera.distortion_model,
        'T_base_optical': frame.T_base_optical.tolist(),
        'T_odom_base': poses,
    }
    (making / 'drive.json').write_text(json.dumps(facts), encoding='utf-8')
    try:
        making.rename(home)
    except OSError:  # somebody else was as far
        shutil.rmtree(making)


def _digest(drive: Drive) -> str:
    """Return what a kept drive depends on, as a short name."""
    digest = hashlib.sha256(repr((drive, GRID, RATE, SHAKE)).encode())
    for path in sorted(Path(simulator.__file__).parent.glob('*.py')):
        if path.name not in ('commands.py', 'dataset.py', 'coco.py'):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:10]
