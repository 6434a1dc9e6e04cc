"""`seg-perception demo`: a source and the segmentation node as real processes, and what came out.

The masks and grids are recorded while it runs and drawn afterwards, so that the drawing takes
nothing from the latency that is reported.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from seg_perception.core.errors import SegPerceptionError, SourceError

SCENE_SEED = 7
SCENE_SIZE = (1280, 720)
START_TIMEOUT = 90.0
#: Seconds without a new mask after which a run that lost frames is over.
QUIET = 1.5
STILLS = 3


@dataclass(frozen=True)
class Input:
    """What the demo shows the node, and the camera it was taken with."""

    uri: str
    params_files: tuple[Path, ...]
    calibration: Path | None
    parameters: dict[str, Any]
    note: str = ''


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Register `seg-perception demo`."""
    parser = subparsers.add_parser(
        'demo', help='run source and segmentation node as processes; write pictures and figures'
    )
    parser.add_argument('--output', type=Path, default=Path('out/demo'))
    parser.add_argument('--video', help='your own video file or folder of pictures')
    parser.add_argument('--bag', help='your own rosbag2 (folder, .mcap or .db3)')
    parser.add_argument('--topic', default='', help='image topic of the bag, if it has several')
    parser.add_argument('--calibration', type=Path, help='camera_calibration YAML of the camera')
    parser.add_argument(
        '--hfov', type=float, default=60.0, help='degrees; assumed where there is no calibration'
    )
    parser.add_argument('--height', type=float, help='of the camera above the ground (m)')
    parser.add_argument('--pitch', type=float, help='of the camera, positive looks down (rad)')
    parser.add_argument('--model', default='', help='bundle; default: the node’s own default')
    parser.add_argument('--provider', default='auto')
    parser.add_argument('--frames', type=int, default=300, help='frames of the rendered scene')
    parser.add_argument('--limit', type=int, default=0, help='stop after so many frames (0: all)')
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the demo; returns the exit code."""
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    _own_ros_domain()
    source = _find_input(options, output)
    if source.note:
        print(source.note)
    summary = _Run(options, source, output).go()
    path = output / 'summary.json'
    path.write_text(json.dumps(summary, indent=2) + '\n', encoding='utf-8')
    _tell(summary, output)
    return 0 if summary['frames_masked'] else 1


def _own_ros_domain() -> None:
    """Keep the demo and whatever robot shares the network out of each other's way."""
    os.environ.setdefault('ROS_DOMAIN_ID', str(random.SystemRandom().randint(100, 230)))
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')


# ------------------------------------------------------------------------------ input


def _find_input(options: argparse.Namespace, output: Path) -> Input:
    if options.video and options.bag:
        raise SourceError('give --video or --bag, not both')
    if options.video or options.bag:
        return _users_input(options, output)
    return _scene(options.frames, output / 'scene')


def _scene(frames: int, folder: Path) -> Input:
    """Render the demo's street once; a second run finds it."""
    video = folder / f'street_{SCENE_SEED}_{frames}.mp4'
    if not video.is_file():
        width, height = SCENE_SIZE
        print(f'Rendering a street scene, {frames} frames {width}x{height} (once) ...')
        partial = folder / f'partial_{os.getpid()}.mp4'
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, '-m', 'seg_perception.cli', 'simulate']
        command += ['--seed', str(SCENE_SEED), '--frames', str(frames), '--rate', '30']
        command += ['--size', f'{width}x{height}', '--out', str(partial)]
        if subprocess.run(command, check=False).returncode != 0:
            raise SourceError('the scene could not be rendered; the message above says why')
        for beside in folder.glob(f'{partial.stem}*'):
            beside.replace(folder / beside.name.replace(partial.stem, video.stem))
    stem = video.with_suffix('')
    return Input(
        str(video),
        (Path(f'{stem}_mounting.yaml'),),
        Path(f'{stem}_camera.yaml'),
        {},
    )


def _users_input(options: argparse.Namespace, output: Path) -> Input:
    from seg_perception.ros.bags import BagSource
    from seg_perception.ros.sources import open_source

    uri = options.bag or options.video
    source = open_source(uri, kind='bag' if options.bag else 'auto', topic=options.topic)
    mounting = {
        f'camera_pose.{key}': value
        for key, value in (('height', options.height), ('pitch', options.pitch))
        if value is not None
    }
    if options.calibration or (isinstance(source, BagSource) and source.has_camera_info):
        return Input(uri, (), options.calibration, mounting)
    path = output / 'assumed_camera.yaml'
    _write_assumed_calibration(source.size, options.hfov, path)
    note = (
        f'No calibration given: assuming a lens of {options.hfov:g} degrees ({path}). The mask '
        'does not depend on it, the grid does: give --calibration, --height and --pitch.'
    )
    return Input(uri, (), path, mounting, note)


def _write_assumed_calibration(size: tuple[int, int], hfov: float, path: Path) -> None:
    from sensor_msgs.msg import CameraInfo

    from seg_perception.ros.calibration import save_calibration

    if not 1.0 <= hfov <= 170.0:
        raise SourceError(f'--hfov must lie in 1..170 degrees, got {hfov:g}')
    width, height = size
    focal = width / 2 / math.tan(math.radians(hfov) / 2)
    info = CameraInfo(width=width, height=height, distortion_model='plumb_bob', d=[0.0] * 5)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    info.k = [focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    save_calibration(info, path, 'assumed')


# -------------------------------------------------------------------------------- run


class _Run:
    """One run of source and node, listened to by a recorder in this process."""

    def __init__(self, options: argparse.Namespace, source: Input, output: Path) -> None:
        self._options = options
        self._source = source
        self._output = output

    def go(self) -> dict[str, Any]:
        import rclpy

        from seg_perception.nodes.recorder import Recorder
        from seg_perception.ros.transport import configure_transport

        configure_transport()
        rclpy.init()
        recorder = Recorder(self._output / 'recorded')
        try:
            self._record(recorder)
            drawn = self._draw(recorder)
            return self._summary(recorder, drawn)
        finally:
            recorder.close()
            recorder.destroy_node()
            rclpy.try_shutdown()

    def _record(self, recorder: Any) -> None:
        from seg_perception.nodes.processes import NodeProcess

        with (self._output / 'nodes.log').open('wb') as log:
            node = NodeProcess('segmentation_node', self._node_arguments(), log=log)
            with node:
                self._wait_for_node(recorder, node)
                with NodeProcess('image_source_node', self._source_arguments(), log=log) as source:
                    self._follow(recorder, node, source)
                    if source.exit_code not in (0, None):
                        raise SegPerceptionError(f'the image source failed:\n{self._log_tail()}')

    def _node_arguments(self) -> list[str]:
        from seg_perception.nodes.processes import ros_arguments

        parameters: dict[str, Any] = {'provider': self._options.provider}
        if self._options.model:
            parameters['model'] = self._options.model
        parameters.update(self._source.parameters)
        return ros_arguments(
            parameters,
            {'image': 'camera/image_raw', 'camera_info': 'camera/camera_info'},
            params_files=self._source.params_files,
        )

    def _source_arguments(self) -> list[str]:
        from seg_perception.nodes.processes import ros_arguments

        parameters: dict[str, Any] = {
            'kind': 'bag' if self._options.bag else 'auto',
            'uri': self._source.uri,
            'image_topic': self._options.topic,
            'wait_for_subscribers': 1,
            # The node and the recorder, which counts and pairs frames by it.
            'wait_for_camera_info_subscribers': 2,
            'limit': self._options.limit,
        }
        if self._source.calibration is not None:
            parameters['camera_info_url'] = str(self._source.calibration)
        remappings = {'image_raw': 'camera/image_raw', 'camera_info': 'camera/camera_info'}
        return ros_arguments(parameters, remappings)

    def _wait_for_node(self, recorder: Any, node: Any) -> None:
        import rclpy

        deadline = time.monotonic() + START_TIMEOUT
        print('Starting the segmentation node ...')
        while recorder.heard.label_info is None:
            rclpy.spin_once(recorder, timeout_sec=0.1)
            refused = recorder.heard.facts.get('state') == 'configure failed'
            if node.exit_code is not None or refused or time.monotonic() > deadline:
                raise SegPerceptionError(f'the node did not become active:\n{self._log_tail()}')

    def _follow(self, recorder: Any, node: Any, source: Any) -> None:
        """Spin until the source has ended and its last frame has come through, or is lost."""
        import rclpy

        heard = recorder.heard
        last_mask, count = time.monotonic(), 0
        with tqdm(total=self._total(), unit='frame', desc='Masked') as bar:
            while True:
                rclpy.spin_once(recorder, timeout_sec=0.1)
                if len(heard.masks) != count:
                    bar.update(len(heard.masks) - count)
                    last_mask, count = time.monotonic(), len(heard.masks)
                if node.exit_code is not None:
                    raise SegPerceptionError(f'the node ended early:\n{self._log_tail()}')
                done = heard.sent and heard.sent[-1] in heard.masks
                quiet = time.monotonic() - last_mask > QUIET
                if source.exit_code is not None and (done or quiet):
                    return

    def _total(self) -> int | None:
        from seg_perception.ros.sources import open_source

        kind = 'bag' if self._options.bag else 'auto'
        count = open_source(self._source.uri, kind=kind, topic=self._options.topic).count
        limit = self._options.limit
        return min(count, limit) if count and limit else count

    def _log_tail(self) -> str:
        text = (self._output / 'nodes.log').read_text(encoding='utf-8', errors='replace')
        return '\n'.join(text.splitlines()[-15:])

    # --------------------------------------------------------------------- afterwards

    def _draw(self, recorder: Any) -> list[str]:
        """Write the video and the stills; frames pair with stamps in the order sent."""
        from seg_perception.evaluation.video import VideoFile, side_by_side
        from seg_perception.ros.sources import open_source

        heard = recorder.heard
        palette = _palette(json.loads(heard.label_info))
        kind = 'bag' if self._options.bag else 'auto'
        frames = open_source(self._source.uri, kind=kind, topic=self._options.topic).frames()
        rate = _rate(heard.sent)
        shown = [i for i, stamp in enumerate(heard.sent) if stamp in recorder.masks]
        stills = {shown[len(shown) * (2 * i + 1) // (2 * STILLS)] for i in range(STILLS) if shown}
        written = [str(self._output / 'demo.mp4')]
        with VideoFile(self._output / 'demo.mp4', rate) as video:
            pairs = zip(heard.sent, frames, strict=False)
            for i, (stamp, frame) in enumerate(tqdm(pairs, total=len(heard.sent), desc='Drawn')):
                rgb = frame.pixels if frame.color == 'rgb' else frame.pixels[..., ::-1]
                picture = side_by_side(
                    rgb,
                    recorder.masks.read(stamp) if stamp in recorder.masks else None,
                    recorder.grids.read(stamp) if stamp in recorder.grids else None,
                    palette,
                    caption='' if stamp in recorder.masks else 'dropped: the newest frame wins',
                )
                video.write(picture)
                if i in stills:
                    written.append(str(_save(self._output / f'frame_{i:05d}.png', picture)))
        return written

    def _summary(self, recorder: Any, drawn: list[str]) -> dict[str, Any]:
        heard = recorder.heard
        latency = np.array([(t - stamp) / 1e6 for stamp, t in heard.masks.items()])
        times = sorted(heard.masks.values())
        seconds = (times[-1] - times[0]) / 1e9 if len(times) > 1 else 0.0
        sent = len(heard.sent)
        return {
            'frames_sent': sent,
            'frames_masked': len(heard.masks),
            'frames_dropped': sent - len(heard.masks),
            'grids': len(heard.grids),
            'fps': round((len(times) - 1) / seconds, 2) if seconds else 0.0,
            'latency_ms': {
                'p50': round(float(np.percentile(latency, 50)), 2) if len(latency) else None,
                'p99': round(float(np.percentile(latency, 99)), 2) if len(latency) else None,
            },
            'provider': heard.facts.get('provider', ''),
            'model': heard.facts.get('model', ''),
            'input': self._source.uri,
            'files': drawn,
        }


def _palette(label_info: dict[str, Any]) -> np.ndarray:
    palette = np.zeros((256, 3), np.uint8)
    for item in label_info['class_map']:
        palette[item['class_id']] = item['color']
    return palette


def _rate(stamps: list[int]) -> float:
    if len(stamps) < 2:
        return 30.0
    return float(np.clip(1e9 / np.median(np.diff(stamps)), 1.0, 120.0))


def _save(path: Path, rgb: np.ndarray) -> Path:
    import cv2

    cv2.imwrite(str(path), np.ascontiguousarray(rgb[..., ::-1]))
    return path


def _tell(summary: dict[str, Any], output: Path) -> None:
    latency = summary['latency_ms']
    print(
        f'\n{summary["model"]} on {summary["provider"]}: '
        f'{summary["frames_masked"]} of {summary["frames_sent"]} frames masked '
        f'({summary["frames_dropped"]} dropped), {summary["fps"]} a second; image stamp to mask '
        f'{latency["p50"]} ms (median), {latency["p99"]} ms (p99)'
    )
    for path in [*summary['files'], str(output / 'summary.json')]:
        print(f'  {path}')
