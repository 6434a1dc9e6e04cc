"""Messages of a camera and of this package's nodes in the Rerun viewer (https://rerun.io).

The viewer runs in the browser, without RViz and without a desktop on the robot. What belongs to
one camera is told by the frame its messages are stamped with.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from seg_perception.core.errors import ImageError, SourceError
from seg_perception.core.overlay import draw_grid
from seg_perception.ros.images import compressed_to_frame, to_frame
from seg_perception.ros.instance_messages import read_ids
from seg_perception.ros.messages import stamp_ns

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
GRID, TEXT = 'nav_msgs/msg/OccupancyGrid', 'std_msgs/msg/String'
CLASSES = {IMAGE: Image, COMPRESSED: CompressedImage, GRID: OccupancyGrid, TEXT: String}
#: Last part of a topic's name, without a transport's suffix -> what it is.
_ROLES = {
    (IMAGE, r'image\w*'): 'image',
    (COMPRESSED, r'image\w*'): 'image',
    (IMAGE, r'mask'): 'mask',
    (IMAGE, r'instances'): 'instances',
    (GRID, r'drivable_grid'): 'grid',
    (TEXT, r'label_info_json'): 'labels',
    (TEXT, r'detections_json'): 'boxes',
}
_MASK_OPACITY, _INSTANCE_OPACITY, _JPEG_QUALITY = 0.5, 0.6, 80


def role_of(topic: str, msgtype: str) -> str:
    """Return what a topic is to the viewer: image, mask, ...; '' for what it does not show."""
    last = topic.removesuffix('/compressed').rpartition('/')[2]
    for (kind, pattern), role in _ROLES.items():
        if kind == msgtype and re.fullmatch(pattern, last):
            return role
    return ''


@dataclass
class _Camera:
    """What is known of a camera: the size of its pictures, and who segments them."""

    size: tuple[int, int] | None = None
    makers: set[str] = field(default_factory=set)


class RerunViewer:
    """Shows messages; one recording of the viewer.

    Args:
        title: of the recording.
        save: write an .rrd file in place of serving.
        port: of the web page; the data go over the next one.
        open_browser: open the page here.

    Raises:
        SourceError: rerun-sdk is not installed, or the port is taken.
    """

    def __init__(
        self,
        title: str,
        *,
        save: Path | None = None,
        port: int = 9090,
        open_browser: bool = False,
    ) -> None:
        try:
            import rerun
            import rerun.blueprint as blueprint
        except ImportError as error:
            raise SourceError(
                "the viewer needs 'rerun-sdk' (about 170 MB): pip install rerun-sdk"
            ) from error
        self._rr, self._blueprint = rerun, blueprint
        self._recording = rerun.RecordingStream('seg_perception')
        self._recording.send_recording_name(title)
        self._cameras: dict[str, _Camera] = {}
        self._grids: set[str] = set()
        self._labels: dict[str, Any] = {}
        self._named: set[str] = set()
        self.url = ''
        try:
            if save is not None:
                self._recording.save(save)
            else:
                address = self._recording.serve_grpc(grpc_port=port + 1)
                rerun.serve_web_viewer(
                    web_port=port, open_browser=open_browser, connect_to=address
                )
                self.url = f'http://localhost:{port}?url={quote(address, safe="")}'
        except Exception as error:  # rerun raises whatever its Rust half does
            raise SourceError(f'the viewer cannot start: {error}') from error

    def show(self, topic: str, role: str, message: Any) -> None:
        """Show a message; one that can't be read is passed over.

        Args:
            topic: its topic, whose namespace tells who made it.
            role: of :func:`role_of`.
            message: of rclpy.
        """
        maker = topic.removesuffix('/compressed').rpartition('/')[0].strip('/')
        try:
            getattr(self, f'_show_{role}')(maker, message)
        except ImageError:
            return  # the node reports it, a viewer needs not

    def flush(self) -> None:
        """Wait until everything has been written or sent."""
        self._recording.flush()

    def _show_image(self, _maker: str, message: Image | CompressedImage) -> None:
        compressed = isinstance(message, CompressedImage)
        frame = compressed_to_frame(message) if compressed else to_frame(message)
        name = _entity(message.header.frame_id or 'camera')
        camera = self._camera(name)
        camera.size = frame.size
        model = 'rgb' if frame.color == 'rgb' else 'bgr'
        picture = self._rr.Image(np.ascontiguousarray(frame.pixels), color_model=model)
        self._log(message.header, f'{name}/image', picture.compress(jpeg_quality=_JPEG_QUALITY))

    def _show_mask(self, maker: str, message: Image) -> None:
        ids = read_ids(message, ('mono8', '8UC1'))
        self._show_ids(maker, 'mask', message, ids, _MASK_OPACITY)

    def _show_instances(self, maker: str, message: Image) -> None:
        ids = read_ids(message, ('mono16', '16UC1'))
        self._show_ids(maker, 'instances', message, ids, _INSTANCE_OPACITY)

    def _show_ids(
        self, maker: str, kind: str, message: Image, ids: np.ndarray, opacity: float
    ) -> None:
        name = _entity(message.header.frame_id or 'camera')
        camera = self._camera(name)
        self._note_maker(camera, maker)
        if camera.size is not None and camera.size != ids.shape[::-1]:
            ids = cv2.resize(ids, camera.size, interpolation=cv2.INTER_NEAREST)
        entity = f'{name}/{_entity(maker)}/{kind}'
        if kind == 'mask':
            self._name_classes(entity, maker)
        self._log(message.header, entity, self._rr.SegmentationImage(ids, opacity=opacity))

    def _show_boxes(self, maker: str, message: String) -> None:
        try:
            content = json.loads(message.data)
            items = content['detections']
            boxes = np.array([item['box'] for item in items], np.float32).reshape(-1, 4)
            texts = [f'{i["class_name"]} {i["id"]} {i["score"]:.2f}' for i in items]
            name, stamp = _entity(content['frame_id'] or 'camera'), int(content['stamp_ns'])
        except (ValueError, KeyError, TypeError) as error:
            raise ImageError(f'no detections: {error}') from error
        self._note_maker(self._camera(name), maker)
        shown = self._rr.Boxes2D(array=boxes, array_format=self._rr.Box2DFormat.XYXY, labels=texts)
        self._recording.set_time('stamp', timestamp=np.datetime64(stamp, 'ns'))
        self._recording.log(f'{name}/{_entity(maker)}/boxes', shown)

    def _show_grid(self, maker: str, message: OccupancyGrid) -> None:
        info = message.info
        cells = np.array(message.data, np.int8)
        if cells.size != info.width * info.height or not cells.size:
            raise ImageError('the grid has no cells')
        entity = f'grid/{_entity(maker)}'
        if entity not in self._grids:
            self._grids.add(entity)
            self._arrange()
        picture = draw_grid(cells.reshape(info.height, info.width), 2)
        self._log(message.header, entity, self._rr.Image(picture))

    def _show_labels(self, maker: str, message: String) -> None:
        try:
            rows = json.loads(message.data)['class_map']
            context = self._rr.AnnotationContext(
                [(r['class_id'], r['class_name'], tuple(r['color'])) for r in rows]
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ImageError(f'no label info: {error}') from error
        self._labels[maker] = context
        self._named.clear()  # the next mask of this maker takes the new names

    def _name_classes(self, entity: str, maker: str) -> None:
        """Give a mask its classes' names and colours; of several cameras the node has them."""
        node = next((n for n in self._labels if maker == n or maker.startswith(f'{n}/')), None)
        if node is not None and entity not in self._named:
            self._named.add(entity)
            self._recording.log(entity, self._labels[node], static=True)

    def _log(self, header: Any, entity: str, what: Any) -> None:
        self._recording.set_time('stamp', timestamp=np.datetime64(stamp_ns(header.stamp), 'ns'))
        self._recording.log(entity, what)

    def _camera(self, name: str) -> _Camera:
        if name not in self._cameras:
            self._cameras[name] = _Camera()
            self._arrange()
        return self._cameras[name]

    def _note_maker(self, camera: _Camera, maker: str) -> None:
        if maker in camera.makers:
            return
        camera.makers.add(maker)
        self._arrange()

    def _arrange(self) -> None:
        """Lay the views out: a camera with all that is drawn over it beside its grid."""
        b = self._blueprint
        views = [
            b.Spatial2DView(
                origin=name,
                name=f'{name}: {maker}',
                contents=[f'{name}/image', f'{name}/{_entity(maker)}/**'],
            )
            for name, camera in self._cameras.items()
            for maker in sorted(camera.makers) or ('',)
        ]
        grids = [b.Spatial2DView(origin=entity, name=entity) for entity in sorted(self._grids)]
        columns = [b.Grid(*views)] if views else []
        columns += [b.Vertical(*grids)] if grids else []
        if columns:
            shares = [3, 1] if views and grids else None
            layout = b.Blueprint(b.Horizontal(*columns, column_shares=shares))
            self._recording.send_blueprint(layout)


def _entity(name: str) -> str:
    """A name as one part of an entity's path."""
    return re.sub(r'[^A-Za-z0-9_]+', '_', name.strip('/')) or 'camera'
