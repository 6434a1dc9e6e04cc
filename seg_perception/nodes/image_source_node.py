"""A stand-in for a camera driver: a video, pictures, a rosbag, a V4L2 device or the simulator."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any

import cv2
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from seg_perception.core.errors import CameraModelError, SourceError
from seg_perception.nodes.ego_motion import EgoMotion
from seg_perception.nodes.run import run
from seg_perception.ros.calibration import fit_calibration, load_calibration, uncalibrated
from seg_perception.ros.health import HealthMonitor
from seg_perception.ros.images import image_message
from seg_perception.ros.messages import stamp_from_ns
from seg_perception.ros.parameter_scheme import declare, fields_by_ros_name
from seg_perception.ros.playback import Pacer, ReadAhead
from seg_perception.ros.progress import Progress
from seg_perception.ros.source_parameters import ImageSourceParameters
from seg_perception.ros.sources import (
    DEFAULT_RATE,
    SIMULATOR,
    EgoState,
    Source,
    SourceFrame,
    kind_of,
    open_source,
)

#: Pictures decoded ahead of their moment: enough for a slow key frame, little memory.
READ_AHEAD = 4
#: Unacknowledged pictures kept for slow readers.
DEPTH = 5
#: Seconds the last picture is given to arrive before the node ends.
LAST_WORDS = 2.0
#: Seconds between looks at the source for diagnostics.
WATCH_PERIOD = 0.5
DEFAULT_FRAME_ID = 'camera_optical_frame'


@dataclass
class Shot:
    """A picture ready to go out but for its stamp.

    Attributes:
        image: Image or CompressedImage.
        camera_info: its calibration.
        offset_ns: its moment, nanoseconds after the first's; None = at once.
        stamp_ns: recorded stamp.
        captured_ns: when it was taken, on time.monotonic_ns; None = at its publication.
        ego: where the vehicle was.
    """

    image: Image | CompressedImage
    camera_info: CameraInfo
    offset_ns: int | None
    stamp_ns: int | None
    captured_ns: int | None = None
    ego: EgoState | None = None


class ImageSourceNode(Node):
    """Publishes image_raw (or image_raw/compressed) and camera_info with the same header.

    A thread decodes ahead, another publishes each picture at its moment; the executor's thread
    is left to parameters and diagnostics. Ends with exit code 0 after the last picture.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__('image_source_node', **node_options)
        self.exit_code: int | None = None
        self._p = declare(self, ImageSourceParameters)
        self.add_on_set_parameters_callback(self._refuse_changes)
        self._stop = threading.Event()
        self._player = threading.Thread(target=self._play, name='player', daemon=True)
        self._published = 0
        self._source = self._open()
        self._pacer = Pacer(self._period_ns)
        self._calibration = self._load_calibration()
        self._create_publishers()
        self._create_diagnostics()

    def begin(self) -> None:
        """Start publishing."""
        self._player.start()

    def end(self) -> None:
        """Stop publishing and let go of the source."""
        self._stop.set()
        self._source.stop()
        if self._player.is_alive():
            self._player.join(LAST_WORDS + 1.0)

    # -------------------------------------------------------------------------- setting up

    def _open(self) -> Source:
        p = self._p
        source = self._simulator() or open_source(
            p.uri,
            kind=p.kind,
            rate=p.rate,
            topic=p.image_topic,
            camera_info_topic=p.camera_info_topic,
            keep_compressed=p.image_transport == 'compressed',
            device_size=p.device_size,
            fourcc=p.fourcc,
            report=lambda text: self.get_logger().warning(text),
        )
        width, height = source.size
        count = f', {source.count} pictures' if source.count else ''
        self.get_logger().info(
            f'{source.description}: {width}x{height} at {source.rate:.4g} Hz{count}'
        )
        return source

    def _simulator(self) -> Source | None:
        """Open the simulator, where that is the source."""
        p = self._p
        if (kind_of(p.uri) if p.kind == 'auto' else p.kind) != SIMULATOR:
            return None
        if p.image_transport == 'compressed':
            raise SourceError(f'{p.uri}: only a bag can be passed on compressed')
        from seg_perception.nodes.simulator_source import SimulatorSource

        return SimulatorSource(p, report=lambda text: self.get_logger().info(text))

    @property
    def _period_ns(self) -> int:
        return round(1e9 / (self._source.rate or DEFAULT_RATE))

    def _load_calibration(self) -> CameraInfo | None:
        """Read and fit the calibration file; None where the source's own holds, or none."""
        width, height = self._source.size
        if not self._p.camera_info_url:
            if not getattr(self._source, 'has_camera_info', False):
                self.get_logger().warning(
                    'no calibration: camera_info says uncalibrated (K[0] = 0), so no grid can be '
                    "made of it; set 'camera_info_url'"
                )
            return None
        info = load_calibration(self._p.camera_info_url, self._p.camera_name)
        fitted, scaled = fit_calibration(info, width, height)
        if scaled:
            self.get_logger().warning(
                f'calibration of {info.width}x{info.height} scaled to {width}x{height}'
            )
        return fitted

    def _create_publishers(self) -> None:
        best_effort = self._p.reliability == 'best_effort'
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=DEPTH,
            reliability=ReliabilityPolicy.BEST_EFFORT
            if best_effort
            else ReliabilityPolicy.RELIABLE,
        )
        # image_transport's way to a topic's name: remap image_raw, and its transports follow.
        topic, kind = self.resolve_topic_name('image_raw'), Image
        if self._p.image_transport == 'compressed':
            topic, kind = f'{topic}/compressed', CompressedImage
        options = {'qos_overriding_options': QoSOverridingOptions.with_default_policies()}
        self._image_publisher = self.create_publisher(kind, topic, qos, **options)
        self._info_publisher = self.create_publisher(CameraInfo, 'camera_info', qos, **options)
        self._ego_motion: EgoMotion | None = None
        if self._source.mounting is not None:
            odom, base = self._p.simulator_odom_frame_id, self._p.simulator_base_frame_id
            camera = self._p.frame_id or DEFAULT_FRAME_ID
            self._ego_motion = EgoMotion(self, odom, base, camera, self._source.mounting)

    def _create_diagnostics(self) -> None:
        self._health = HealthMonitor(self, 'image source')
        self._health.set('source', self._source.description)
        self._health.set_state('starting')
        self.create_timer(WATCH_PERIOD, self._watch, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _watch(self) -> None:
        """Tell diagnostics how the source and the player do."""
        self._health.set('frames late', self._pacer.late)
        self._health.set('frames skipped', self._source.skipped)
        if self._source.lost:
            self._health.problem('source', f'{self._source.description} is lost, trying again')
        else:
            self._health.clear('source')

    def _refuse_changes(self, changes: list[Parameter]) -> SetParametersResult:
        known = fields_by_ros_name(ImageSourceParameters)
        mine = [p.name for p in changes if p.name in known]
        if not mine:
            return SetParametersResult(successful=True)
        return SetParametersResult(
            successful=False,
            reason=f"'{mine[0]}' holds from start to end: start the node again with the new value",
        )

    # -------------------------------------------------------------------------- the reader

    def _shots(self) -> Iterator[Shot]:
        """Give every picture to publish, ready but for the stamp; runs in the reading thread."""
        given, base_ns = 0, 0
        while True:
            first_ns = last_ns = None
            for frame in self._source.frames():
                if frame.index < self._p.start:
                    continue
                if self._p.limit and given >= self._p.limit:
                    return
                moment = frame.offset_ns
                if moment is not None:
                    first_ns = moment if first_ns is None else first_ns
                    last_ns = moment = base_ns + moment - first_ns
                self._health.input()
                yield self._shot(frame, moment)
                given += 1
            if not self._p.loop or self._stop.is_set():
                return
            if last_ns is None:
                raise SourceError(f'{self._source.description}: no picture to show in a loop')
            base_ns = last_ns + self._period_ns

    def _shot(self, frame: SourceFrame, offset_ns: int | None) -> Shot:
        header = Header(frame_id=self._p.frame_id or frame.frame_id or DEFAULT_FRAME_ID)
        image = frame.compressed
        if image is None:
            pixels = frame.pixels
            if not self._p.encoding.startswith(frame.color):
                pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
            image = image_message(pixels, self._p.encoding, header)
        image.header = header
        info = self._info(frame)
        info.header = header
        return Shot(image, info, offset_ns, frame.stamp_ns, frame.captured_ns, frame.ego)

    def _info(self, frame: SourceFrame) -> CameraInfo:
        width, height = self._source.size
        info = self._calibration or frame.camera_info or uncalibrated(width, height)
        if info is self._calibration and (info.width, info.height) != (width, height):
            try:
                info, _ = fit_calibration(info, width, height)
            except CameraModelError as error:
                self.get_logger().error(str(error), throttle_duration_sec=10.0)
                info = uncalibrated(width, height)
        # A message of its own: the one before may still be waiting for its stamp.
        return copy(info)

    # -------------------------------------------------------------------------- the player

    def _play(self) -> None:
        """Publish to the end; its outcome becomes the process's exit code."""
        code = 0
        try:
            self._health.set_state('waiting for subscribers')
            if self._wait_for_subscribers():
                self._health.set_state('publishing')
                self._publish_all()
        except SourceError as error:
            self.get_logger().error(str(error))
            code = 1
        except Exception as error:
            if not self._stop.is_set():
                self.get_logger().error(f'{type(error).__name__}: {error}')
                code = 1
        finally:
            self._source.stop()
            self.exit_code = code

    def _wait_for_subscribers(self) -> bool:
        """Wait until as many listen as asked for; False when stopped."""
        wanted = (
            (self._image_publisher, self._p.wait_for_subscribers),
            (self._info_publisher, self._p.wait_for_camera_info_subscribers),
        )
        said = time.monotonic()
        while missing := [p for p, count in wanted if p.get_subscription_count() < count]:
            if self._stop.wait(0.02):
                return False
            if time.monotonic() - said > 5.0:
                said = time.monotonic()
                have = ', '.join(f'{p.topic_name} ({p.get_subscription_count()})' for p in missing)
                self.get_logger().info(f'waiting for more subscribers of {have}')
        return not self._stop.is_set()

    def _publish_all(self) -> None:
        total = self._source.count
        if total is not None:
            total = max(total - self._p.start, 0)
            total = None if self._p.loop else total
        if self._p.limit:
            total = min(total, self._p.limit) if total else self._p.limit
        log = self.get_logger().info
        progress = Progress(total, log) if self._p.progress else None
        # A camera's picture is worth showing now or never: none is kept back.
        shots = ReadAhead(self._shots(), 1 if self._source.live else READ_AHEAD)
        try:
            for shot in shots:
                if shot.offset_ns is not None and not self._pacer.wait(shot.offset_ns, self._stop):
                    break
                if self._stop.is_set():
                    break
                self._publish(shot)
                if progress is not None:
                    progress.step(self._pacer.late)
        finally:
            if progress is not None:
                progress.close()
            self._source.stop()
            shots.close()
        if not self._stop.is_set():
            # The calibration went out before the picture on the same way. Its acknowledgement is
            # not waited for: Fast DDS may fetch that of a small message only after 3 s.
            self._image_publisher.wait_for_all_acked(Duration(seconds=LAST_WORDS))
        log(
            f'{self._published} pictures published, {self._pacer.late} late, '
            f'{self._source.skipped} skipped'
        )

    def _publish(self, shot: Shot) -> None:
        arrival = time.monotonic()
        now = self.get_clock().now()
        stamp = now.to_msg()
        if shot.captured_ns is not None:
            stamp = stamp_from_ns(now.nanoseconds - (time.monotonic_ns() - shot.captured_ns))
        if self._p.stamps == 'original':
            if self._published == 0:
                self._began_ns = now.nanoseconds
            if shot.stamp_ns is not None:
                stamp = stamp_from_ns(shot.stamp_ns)
            elif shot.offset_ns is not None:
                stamp = stamp_from_ns(self._began_ns + shot.offset_ns)
        shot.image.header.stamp = stamp
        shot.camera_info.header.stamp = stamp
        if self._ego_motion is not None and shot.ego is not None:
            self._ego_motion.publish(shot.ego, stamp)
        # The calibration first: who has the picture then has its calibration too.
        self._info_publisher.publish(shot.camera_info)
        self._image_publisher.publish(shot.image)
        self._published += 1
        self._health.output(arrival, latency=-1.0)


def main(args: list[str] | None = None) -> int:
    """Entry point of the executable."""
    return run(ImageSourceNode, args)


if __name__ == '__main__':
    sys.exit(main())
