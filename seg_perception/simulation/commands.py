"""``seg-perception simulate``: a rendered drive as a video, or a training set."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import yaml

from seg_perception.core.errors import SourceError

_CODECS = {'.mp4': 'mp4v', '.avi': 'MJPG', '.mkv': 'mp4v'}


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Register ``simulate`` with the command line."""
    command = subparsers.add_parser(
        'simulate',
        help='render a street: a video with its calibration and mounting, or a training set',
        description=(
            'Render a random street on the CPU. With --out: a drive as a video (.mp4, .avi) or a '
            'folder of pictures, and beside it its calibration (<name>_camera.yaml, as '
            'camera_calibration writes it) and the mounting (<name>_mounting.yaml, a parameter '
            'file for segmentation_node). With --dataset: images/, labels/ (CamVid ids) and '
            'instances.json (COCO format) for training.'
        ),
    )
    command.add_argument('--seed', type=int, default=7, help='which street (default 7)')
    command.add_argument('--frames', type=int, default=300, help='frames of the drive')
    command.add_argument('--rate', type=float, default=30.0, help='frames a second')
    command.add_argument('--size', default='1280x720', help='WIDTHxHEIGHT (default 1280x720)')
    command.add_argument('--style', help='high_street, terrace, suburb or avenue')
    command.add_argument(
        '--truth',
        action='store_true',
        help='with a folder as --out: also masks, instances and depth',
    )
    target = command.add_mutually_exclusive_group(required=True)
    target.add_argument('--out', type=Path, help='video file or folder to write')
    target.add_argument('--dataset', type=Path, help='folder for images/, labels/, instances.json')
    command.add_argument('--count', type=int, default=600, help='frames of the dataset')
    command.add_argument(
        '--supersample',
        type=float,
        default=1.5,
        help='draw this many times larger and average (1..3, default 1.5)',
    )
    command.set_defaults(run=_run)


def parse_size(text: str) -> tuple[int, int]:
    """Return (width, height) of a text like '1280x720'.

    Raises:
        SourceError: it is not two whole numbers from 32 to 4096 with an x between.
    """
    try:
        width, height = (int(part) for part in text.lower().split('x'))
    except ValueError:
        raise SourceError(f"'{text}' is no size: write it like 1280x720") from None
    if not (32 <= width <= 4096 and 32 <= height <= 4096):
        raise SourceError(f'size {width}x{height} is outside 32..4096 pixels a side')
    return width, height


def _run(args: argparse.Namespace) -> int:
    width, height = parse_size(args.size)
    if not 1.0 <= args.supersample <= 3.0:
        raise SourceError(f'--supersample {args.supersample} is outside 1..3')
    if args.dataset is not None:
        return _dataset(args, width, height)
    return _drive(args, width, height)


def _progress(total: int, label: str):
    from tqdm import tqdm

    return tqdm(total=total, desc=label, unit='frame', disable=not sys.stderr.isatty())


def _dataset(args: argparse.Namespace, width: int, height: int) -> int:
    from seg_perception.simulation.dataset import write_dataset

    if args.count < 1:
        raise SourceError(f'--count {args.count}: ask for at least one frame')
    with _progress(args.count, 'rendering') as bar:
        write_dataset(args.dataset, args.count, width, height, seed=args.seed, progress=bar.update)
    print(f'{args.count} frames {width}x{height} with labels and instances in {args.dataset}')
    return 0


def _drive(args: argparse.Namespace, width: int, height: int) -> int:
    from seg_perception.simulation.drive import frames, scene_for

    if args.seed < 0:
        raise SourceError(f'--seed {args.seed}: use a number from 0')
    folder = args.out.suffix.lower() not in _CODECS
    if folder and args.out.suffix:
        raise SourceError(
            f"'{args.out}': write .mp4, .avi or .mkv, or name a folder without a suffix"
        )
    if args.truth and not folder:
        raise SourceError('--truth writes pictures: give a folder as --out')
    if args.frames < 1 or args.rate <= 0:
        raise SourceError('use at least one frame and a positive rate')
    scene = scene_for(args.seed, args.frames / args.rate, style=args.style)
    drive = frames(
        scene,
        args.frames,
        args.rate,
        width=width,
        height=height,
        truth=args.truth,
        supersample=args.supersample,
    )
    sink = _Pictures(args.out) if folder else _Video(args.out, (width, height), args.rate)
    camera = None
    try:
        with _progress(args.frames, 'rendering') as bar:
            for frame in drive:
                camera = frame
                sink.write(frame)
                bar.update()
    finally:
        sink.close()
    sink.check()
    stem = args.out / 'drive' if folder else args.out.with_suffix('')
    rig, lens = scene.camera, scene.camera.distortion_model
    write_calibration(
        f'{stem}_camera.yaml', camera.K, camera.D, width, height, distortion_model=lens
    )
    write_mounting(f'{stem}_mounting.yaml', rig.height, rig.pitch, rig.roll)
    print(f'{args.frames} frames {width}x{height} in {args.out}; camera in {stem}_camera.yaml')
    return 0


class _Video:
    """Writes frames into a video file, and makes sure that it can be read again."""

    def __init__(self, path: Path, size: tuple[int, int], rate: float):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        code = cv2.VideoWriter_fourcc(*_CODECS[path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(path), code, rate, size)
        if not self._writer.isOpened():
            raise SourceError(
                f"OpenCV cannot write '{path}': check the folder, or use .avi instead of "
                f'{path.suffix}'
            )

    def write(self, frame) -> None:
        self._writer.write(cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._writer.release()

    def check(self) -> None:
        """Read a frame back."""
        capture = cv2.VideoCapture(str(self._path))
        readable, _ = capture.read()
        capture.release()
        if not readable:
            raise SourceError(f"'{self._path}' was written but cannot be read: use .avi")


class _Pictures:
    """Writes frames as numbered pictures, with their truth where they carry it."""

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def _save(self, kind: str, name: str, picture: np.ndarray) -> None:
        folder = self._folder / kind
        folder.mkdir(exist_ok=True)
        if not cv2.imwrite(str(folder / name), picture):
            raise SourceError(f'cannot write {folder / name}: is the disk full?')

    def write(self, frame) -> None:
        stem = f'{frame.index:06d}'
        self._save('images', f'{stem}.jpg', cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
        if frame.mask is not None:
            self._save('labels', f'{stem}.png', frame.mask)
            self._save('instances', f'{stem}.png', frame.instances)
            # Millimetres in 16 bits reach 65 m; centimetres 655 m, beyond which 0 says unknown.
            depth = np.where(frame.depth < 655, frame.depth * 100, 0)
            self._save('depth_cm', f'{stem}.png', depth.astype(np.uint16))
        self._note(frame)

    def _note(self, frame) -> None:
        pose = ' '.join(f'{v:.9g}' for v in frame.T_odom_base[:3].ravel())
        mode = 'w' if frame.index == 0 else 'a'
        with open(self._folder / 'T_odom_base.txt', mode, encoding='utf-8') as file:
            file.write(f'{frame.stamp:.9f} {pose}\n')

    def close(self) -> None:
        """Nothing is held open."""

    def check(self) -> None:
        """Each picture was checked as it was written."""


def write_calibration(
    path: str | Path,
    K: np.ndarray,
    D: np.ndarray,
    width: int,
    height: int,
    name: str = 'camera',
    distortion_model: str = 'plumb_bob',
) -> None:
    """Write a calibration as the ``camera_calibration`` package does."""
    projection = np.hstack([K, np.zeros((3, 1))])

    def matrix(values: np.ndarray) -> dict:
        rows, columns = np.atleast_2d(values).shape
        return {'rows': rows, 'cols': columns, 'data': [float(v) for v in np.ravel(values)]}

    document = {
        'image_width': width,
        'image_height': height,
        'camera_name': name,
        'camera_matrix': matrix(K),
        'distortion_model': distortion_model,
        'distortion_coefficients': matrix(D),
        'rectification_matrix': matrix(np.eye(3)),
        'projection_matrix': matrix(projection),
    }
    _write_yaml(path, document)


def write_mounting(path: str | Path, height: float, pitch: float, roll: float = 0.0) -> None:
    """Write a camera's height (m), pitch (rad, > 0 looks down) and roll as a parameter file."""
    if not all(math.isfinite(value) for value in (height, pitch, roll)):
        raise SourceError(
            f'mounting height {height} m, pitch {pitch} and roll {roll} rad must be numbers'
        )
    pose = {'height': float(height), 'pitch': float(pitch), 'roll': float(roll)}
    _write_yaml(path, {'/**': {'ros__parameters': {'camera_pose': pose}}})


def _write_yaml(path: str | Path, document: dict) -> None:
    try:
        with open(path, 'w', encoding='utf-8') as file:
            yaml.safe_dump(document, file, sort_keys=False, default_flow_style=None)
    except OSError as error:
        raise SourceError(f"cannot write '{path}': {error}") from error
