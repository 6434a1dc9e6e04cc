"""Image messages to numpy and back, without a copy where the encoding allows.

Names of encodings: sensor_msgs/image_encodings.hpp. cv_bridge is not used: PyPI has none that
works, and it copies.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from seg_perception.core.errors import ImageError
from seg_perception.ros.codecs import check_compressed

#: Larger pictures are taken for a corrupt header (pixels; the largest sensors have 150 million).
MAX_PIXELS = 1 << 28


@dataclass(frozen=True)
class Frame:
    """A picture as the segmenter takes it.

    Attributes:
        pixels: uint8 [H, W, 3]; rows may be padded (strided view) and the memory may be the
            message's own: read only.
        color: 'rgb' or 'bgr', the order of the channels.
    """

    pixels: np.ndarray
    color: str

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def rgb(self) -> np.ndarray:
        """The pixels, or a view of them, in the order 'rgb'."""
        return self.pixels if self.color == 'rgb' else self.pixels[..., ::-1]


@dataclass(frozen=True)
class _Encoding:
    """How one encoding lies in memory.

    Attributes:
        bytes_per_pixel: of a row.
        to_pixels: from uint8 [H, W, channels] ([H, W] for one channel) to uint8 [H, W, 3].
        color: channel order of what `to_pixels` returns.
        depth: bits a channel, 8 or 16; of 16 bits only the upper 8 are kept.
        even_width: two neighbouring pixels share their colour.
        least: the smallest side that can be converted, pixels.
    """

    bytes_per_pixel: int
    to_pixels: Callable[[np.ndarray], np.ndarray]
    color: str
    depth: int = 8
    even_width: bool = False
    least: int = 1


def _as_is(pixels: np.ndarray) -> np.ndarray:
    return pixels


def _converter(code: int) -> Callable[[np.ndarray], np.ndarray]:
    def convert(pixels: np.ndarray) -> np.ndarray:
        return cv2.cvtColor(pixels, code)

    return convert


# A view [..., :3] of four channels would be free here and cost 10 ms at 720p where it is first
# used, since OpenCV copies what is not packed; cvtColor takes 0.3 ms.
_GRAY = _converter(cv2.COLOR_GRAY2RGB)
_DROP_ALPHA = _converter(cv2.COLOR_RGBA2RGB)
# OpenCV names a Bayer pattern by its second row's second and third pixel, ROS by the first
# row: rggb in ROS is BayerBG in OpenCV.
_BAYER = {
    'rggb': cv2.COLOR_BayerBG2RGB,
    'bggr': cv2.COLOR_BayerRG2RGB,
    'gbrg': cv2.COLOR_BayerGR2RGB,
    'grbg': cv2.COLOR_BayerGB2RGB,
}
_YUYV = _Encoding(2, _converter(cv2.COLOR_YUV2RGB_YUY2), 'rgb', even_width=True)
_UYVY = _Encoding(2, _converter(cv2.COLOR_YUV2RGB_UYVY), 'rgb', even_width=True)

_PACKED: dict[str, _Encoding] = {
    'rgb8': _Encoding(3, _as_is, 'rgb'),
    'bgr8': _Encoding(3, _as_is, 'bgr'),
    'rgba8': _Encoding(4, _DROP_ALPHA, 'rgb'),
    'bgra8': _Encoding(4, _DROP_ALPHA, 'bgr'),
    'mono8': _Encoding(1, _GRAY, 'rgb'),
    '8UC1': _Encoding(1, _GRAY, 'rgb'),
    '8UC3': _Encoding(3, _as_is, 'bgr'),
    '8UC4': _Encoding(4, _DROP_ALPHA, 'bgr'),
    'rgb16': _Encoding(6, _as_is, 'rgb', depth=16),
    'bgr16': _Encoding(6, _as_is, 'bgr', depth=16),
    'rgba16': _Encoding(8, _DROP_ALPHA, 'rgb', depth=16),
    'bgra16': _Encoding(8, _DROP_ALPHA, 'bgr', depth=16),
    'mono16': _Encoding(2, _GRAY, 'rgb', depth=16),
    '16UC1': _Encoding(2, _GRAY, 'rgb', depth=16),
    'yuyv': _YUYV,
    'yuv422_yuy2': _YUYV,
    'uyvy': _UYVY,
    'yuv422': _UYVY,
    **{
        f'bayer_{pattern}{depth}': _Encoding(
            depth // 8, _converter(code), 'rgb', depth=depth, least=3
        )
        for pattern, code in _BAYER.items()
        for depth in (8, 16)
    },
}
_PLANAR = {'nv12': cv2.COLOR_YUV2RGB_NV12, 'nv21': cv2.COLOR_YUV2RGB_NV21}

#: Every encoding that :func:`to_frame` reads.
ENCODINGS = (*_PACKED, *_PLANAR)


def to_frame(message: Image) -> Frame:
    """Read a raw image message.

    rgb8, bgr8 and 8UC3 are views of the message's memory, all others are converted. 16-bit
    channels keep their upper 8 bits whatever the picture holds: a range stretched to each
    picture would flicker. 8UC3 and 8UC4 are taken as bgr(a), as OpenCV means them.

    Raises:
        ImageError: unknown encoding, no pixels, a step shorter than a row, data that are not
            step * height bytes, an odd size where colours are shared by pixel pairs.
    """
    width, height, name = message.width, message.height, message.encoding
    _check_size(width, height, name)
    if name in _PLANAR:
        return _semi_planar(message)
    encoding = _PACKED.get(name)
    if encoding is None:
        raise ImageError(
            f"image encoding '{name}' is not known; known are {', '.join(sorted(ENCODINGS))}"
        )
    if encoding.even_width and width % 2:
        raise ImageError(f'a {name} image must have an even width, got {width}x{height}')
    if min(width, height) < encoding.least:
        raise ImageError(
            f'a {name} image must have at least {encoding.least}x{encoding.least} pixels, '
            f'got {width}x{height}'
        )
    rows = _rows(message, width * encoding.bytes_per_pixel, height)
    pixels = _channels(rows, encoding, bool(message.is_bigendian))
    return Frame(encoding.to_pixels(pixels), encoding.color)


def compressed_to_frame(message: CompressedImage) -> Frame:
    """Decode a jpeg or png message.

    The codec is told by the data, not by `format`. 16-bit pictures keep their upper 8 bits,
    grey ones get three equal channels, transparency is dropped, and an EXIF orientation is
    ignored: camera_info describes the sensor's picture, not a turned one.

    Raises:
        ImageError: not jpeg or png, truncated, damaged, or an absurd size in the header.
    """
    data = np.frombuffer(message.data, np.uint8)
    width, height = check_compressed(data, message.format)
    _check_size(width, height, 'compressed')
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageError(f'the compressed image cannot be decoded: {error}') from error
    if pixels is None:
        raise ImageError(
            f"the compressed image ('{message.format}', {data.size} bytes, {width}x{height}) is "
            'damaged: the decoder refused it'
        )
    # compressed_image_transport of old handed rgb to the encoder as if it were bgr, and says so.
    codec = message.format.partition(';')[2]
    return Frame(pixels, 'rgb' if 'compressed rgb' in codec else 'bgr')


_OUTPUT_TYPES = {
    'mono8': (np.uint8, 1),
    '8UC1': (np.uint8, 1),
    'rgb8': (np.uint8, 3),
    'bgr8': (np.uint8, 3),
    'rgba8': (np.uint8, 4),
    'bgra8': (np.uint8, 4),
    'mono16': (np.uint16, 1),
    '16UC1': (np.uint16, 1),
    '32SC1': (np.int32, 1),
    '32FC1': (np.float32, 1),
}


def image_message(pixels: np.ndarray, encoding: str, header: Header) -> Image:
    """Build an image message.

    Args:
        pixels: [H, W] or [H, W, channels] of the encoding's type, in any memory layout.
        encoding: mono8, 8UC1, rgb8, bgr8, rgba8, bgra8, mono16, 16UC1, 32SC1 or 32FC1.
        header: used as it is, not copied.

    Raises:
        ImageError: the array does not fit the encoding.
    """
    try:
        dtype, channels = _OUTPUT_TYPES[encoding]
    except KeyError:
        raise ImageError(
            f"cannot publish encoding '{encoding}'; known are {', '.join(_OUTPUT_TYPES)}"
        ) from None
    shape = (*pixels.shape, 1) if pixels.ndim == 2 else pixels.shape
    if pixels.dtype != dtype or len(shape) != 3 or shape[2] != channels or 0 in shape:
        raise ImageError(
            f'{encoding} needs {np.dtype(dtype).name} [H, W, {channels}], '
            f'got {pixels.dtype} {list(pixels.shape)}'
        )
    message = Image()
    message.header = header
    message.height, message.width = shape[:2]
    message.encoding = encoding
    message.is_bigendian = int(sys.byteorder == 'big')
    message.step = shape[1] * channels * pixels.dtype.itemsize
    # Measured: array.frombytes 0.1 ms; an ndarray would be checked element by element, 216 ms.
    data = array('B')
    data.frombytes(np.ascontiguousarray(pixels).data.cast('B'))
    message.data = data
    return message


def _check_size(width: int, height: int, name: str) -> None:
    if width == 0 or height == 0:
        raise ImageError(f'the {name} image is empty ({width}x{height} pixels)')
    if width * height > MAX_PIXELS:
        raise ImageError(f'the {name} image claims {width}x{height} pixels: a corrupt header')


def pixel_rows(message: Image, row_bytes: int) -> np.ndarray:
    """Return an image's rows without their padding, for encodings that are no colours.

    Args:
        message: the image.
        row_bytes: bytes of the pixels of a row.

    Returns:
        uint8 [height, row_bytes], a read-only view.

    Raises:
        ImageError: size, step and data do not fit each other.
    """
    _check_size(message.width, message.height, message.encoding)
    return _rows(message, row_bytes, message.height)


def _rows(message: Image, row_bytes: int, rows: int) -> np.ndarray:
    """Return the rows without their padding, uint8 [rows, row_bytes], a read-only view."""
    if message.step < row_bytes:
        raise ImageError(
            f'step is {message.step} bytes, but a row of {message.width} {message.encoding} '
            f'pixels takes {row_bytes}: the publisher fills in a wrong step'
        )
    data = np.frombuffer(message.data, np.uint8)
    if data.size != message.step * rows:
        raise ImageError(
            f'{message.encoding} {message.width}x{message.height} with step {message.step} needs '
            f'{message.step * rows} bytes of data, got {data.size}'
        )
    data.flags.writeable = False
    return data.reshape(rows, message.step)[:, :row_bytes]


def _channels(rows: np.ndarray, encoding: _Encoding, big_endian: bool) -> np.ndarray:
    """Return rows as uint8 [H, W, channels], or [H, W] for one channel; 16 bits cut to 8."""
    height, row_bytes = rows.shape
    width = row_bytes // encoding.bytes_per_pixel
    if encoding.depth == 16:
        # The upper byte of each channel: the second one of a little-endian pair.
        rows = np.ascontiguousarray(rows[:, 0 if big_endian else 1 :: 2])
    channels = rows.shape[1] // width
    return rows.reshape(height, width, channels) if channels > 1 else rows


def _semi_planar(message: Image) -> Frame:
    """Convert nv12 / nv21: a plane of luma, then one of chroma pairs at half the height.

    Drivers fill `step` in two ways: the luma row's pitch, with 1.5 * step * height bytes (image
    data of NV12 in the kernel's sense), or all bytes divided by the height.
    """
    width, height, name = message.width, message.height, message.encoding
    if width % 2 or height % 2:
        raise ImageError(f'an {name} image must have an even size, got {width}x{height}')
    size = len(message.data)
    planes = height * 3 // 2
    if size == message.step * planes and message.step >= width:
        pitch = message.step
    elif size == message.step * height and message.step * 2 == width * 3:
        pitch = width
    else:
        raise ImageError(
            f'{name} {width}x{height} with step {message.step} needs step * height * 3/2 bytes '
            f'and a step of at least {width}, got {size} bytes'
        )
    data = np.frombuffer(message.data, np.uint8).reshape(planes, pitch)[:, :width]
    return Frame(cv2.cvtColor(data, _PLANAR[name]), 'rgb')
