"""Every encoding to pixels and back, and every way in which an image message can lie."""

from array import array

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from seg_perception.core.errors import ImageError
from seg_perception.ros.images import (
    ENCODINGS,
    compressed_to_frame,
    image_message,
    to_frame,
)

WIDTH, HEIGHT = 12, 8
RGB = (200, 100, 30)


def message(rows, encoding, width=WIDTH, height=HEIGHT, padding=0, **fields):
    """An Image of uint8 rows [n, bytes], with bytes of padding that must not be read."""
    rows = np.asarray(rows)
    padded = np.full((rows.shape[0], rows.shape[1] + padding), 77, np.uint8)
    padded[:, : rows.shape[1]] = rows
    data = array('B')
    data.frombytes(padded.tobytes())
    step = padded.shape[1]
    return Image(
        width=width, height=height, encoding=encoding, **{'step': step, 'data': data, **fields}
    )


def rgb_of(frame):
    assert frame.pixels.dtype == np.uint8
    assert frame.pixels.shape[2] == 3
    assert frame.color in ('rgb', 'bgr')
    return frame.rgb


@pytest.fixture
def picture():
    """A smooth colour picture [8, 12, 3] rgb, smooth so that shared chroma loses little."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([40 + 10 * x, 200 - 15 * y, 60 + 5 * x + 5 * y], -1).astype(np.uint8)


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize(
    ('encoding', 'channels'),
    [
        ('rgb8', [0, 1, 2]),
        ('bgr8', [2, 1, 0]),
        ('8UC3', [2, 1, 0]),
        ('rgba8', [0, 1, 2, 0]),
        ('bgra8', [2, 1, 0, 0]),
        ('8UC4', [2, 1, 0, 0]),
    ],
)
def test_eight_bit_color_keeps_every_value(picture, encoding, channels, padding):
    rows = picture[..., channels].reshape(HEIGHT, -1)
    frame = to_frame(message(rows, encoding, padding=padding))
    np.testing.assert_array_equal(rgb_of(frame), picture)


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', '8UC3'])
def test_packed_color_is_a_view_of_the_message(picture, encoding):
    source = message(picture.reshape(HEIGHT, -1), encoding, padding=4)
    frame = to_frame(source)
    assert np.shares_memory(frame.pixels, np.frombuffer(source.data, np.uint8))
    assert not frame.pixels.flags.writeable
    assert frame.size == (WIDTH, HEIGHT)


@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_grey_fills_three_channels(picture, encoding):
    grey = picture[..., 0]
    frame = to_frame(message(grey, encoding, padding=3))
    for channel in range(3):
        np.testing.assert_array_equal(frame.pixels[..., channel], grey)


@pytest.mark.parametrize('big_endian', [0, 1])
@pytest.mark.parametrize(
    ('encoding', 'channels'),
    [('mono16', [0]), ('16UC1', [0]), ('rgb16', [0, 1, 2]), ('bgra16', [2, 1, 0, 0])],
)
def test_sixteen_bit_keeps_the_upper_byte(picture, encoding, channels, big_endian):
    deep = picture[..., channels].astype(np.uint16) * 256 + 0xAB
    rows = deep.astype('>u2' if big_endian else '<u2').reshape(HEIGHT, -1).view(np.uint8)
    frame = to_frame(message(rows, encoding, padding=6, is_bigendian=big_endian))
    expected = picture if len(channels) > 1 else np.repeat(picture[..., :1], 3, -1)
    np.testing.assert_array_equal(rgb_of(frame), expected)


def yuv(rgb):
    """Limited-range BT.601, which is what cameras send: y, u, v as uint8 planes."""
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    return [np.rint(plane).astype(np.uint8) for plane in (y, u, v)]


@pytest.mark.parametrize('padding', [0, 8])
@pytest.mark.parametrize(
    ('encoding', 'luma_first'),
    [('yuyv', True), ('yuv422_yuy2', True), ('uyvy', False), ('yuv422', False)],
)
def test_packed_yuv(picture, encoding, luma_first, padding):
    y, u, v = yuv(picture)
    chroma = np.empty_like(y)
    chroma[:, 0::2], chroma[:, 1::2] = u[:, 0::2], v[:, 0::2]
    rows = np.stack([y, chroma] if luma_first else [chroma, y], -1).reshape(HEIGHT, -1)
    frame = to_frame(message(rows, encoding, padding=padding))
    assert np.abs(rgb_of(frame).astype(int) - picture).max() <= 24  # half a chroma step


@pytest.mark.parametrize('padding', [0, 4])
@pytest.mark.parametrize(('encoding', 'order'), [('nv12', 'uv'), ('nv21', 'vu')])
def test_semi_planar_yuv(encoding, order, padding):
    flat = np.full((HEIGHT, WIDTH, 3), RGB, np.uint8)
    y, u, v = yuv(flat)
    planes = {'u': u, 'v': v}
    chroma = np.stack([planes[o][::2, ::2] for o in order], -1).reshape(HEIGHT // 2, WIDTH)
    frame = to_frame(message(np.vstack([y, chroma]), encoding, padding=padding))
    assert frame.pixels.shape == flat.shape
    assert np.abs(rgb_of(frame).astype(int) - flat).max() <= 3


def test_semi_planar_with_all_bytes_in_the_step():
    """v4l2_camera and others write step = bytes / height."""
    luma = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    frame = to_frame(message(luma, 'nv12', step=WIDTH * 3 // 2))
    assert np.abs(frame.pixels.astype(int) - 130).max() <= 1


@pytest.mark.parametrize('depth', [8, 16])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_gives_the_color_the_mosaic_was_made_of(pattern, depth):
    mosaic = np.zeros((HEIGHT, WIDTH), np.uint8)
    for position, letter in enumerate(pattern):
        mosaic[position // 2 :: 2, position % 2 :: 2] = RGB['rgb'.index(letter)]
    if depth == 16:
        mosaic = (mosaic.astype('<u2') * 256).view(np.uint8)
    frame = to_frame(message(mosaic, f'bayer_{pattern}{depth}', padding=2))
    np.testing.assert_array_equal(
        rgb_of(frame)[1:-1, 1:-1], np.broadcast_to(RGB, (HEIGHT - 2, WIDTH - 2, 3))
    )


def test_the_issue_s_encodings_are_all_known():
    wanted = 'rgb8 bgr8 rgba8 bgra8 mono8 mono16 16UC1 yuv422_yuy2 yuyv uyvy nv12 nv21'
    assert set(wanted.split()) <= set(ENCODINGS)
    assert {f'bayer_{p}8' for p in ('rggb', 'bggr', 'gbrg', 'grbg')} <= set(ENCODINGS)


ROWS = np.zeros((HEIGHT, WIDTH * 3), np.uint8)


@pytest.mark.parametrize(
    ('bad', 'says'),
    [
        (message(ROWS, 'yuv9000'), r"'yuv9000' is not known; known are .*rgb8"),
        (message(ROWS, ''), 'not known'),
        (message(ROWS, '32FC1'), 'not known'),
        (message(ROWS, 'rgb8', width=0), r'empty \(0x8'),
        (message(ROWS, 'rgb8', height=0), r'empty \(12x0'),
        (message(ROWS, 'rgb8', step=35), 'step is 35 bytes, but a row of 12 rgb8 pixels takes 36'),
        (message(ROWS, 'rgb8', step=0), 'step is 0'),
        (message(ROWS[:-1], 'rgb8'), 'needs 288 bytes of data, got 252'),
        (message(np.vstack([ROWS, ROWS[:1]]), 'rgb8'), 'needs 288 bytes of data, got 324'),
        (message(ROWS, 'rgb8', data=array('B')), 'got 0'),
        (message(ROWS, 'rgb8', width=2**31, height=2**31), 'corrupt header'),
        (message(ROWS, 'rgb8', width=2**20, step=2**22), 'bytes of data'),
        (message(ROWS[:, :22], 'yuyv', width=11), 'even width, got 11x8'),
        (message(ROWS, 'nv12', width=11), 'even size'),
        (message(ROWS, 'nv12', height=7), 'even size'),
        (message(ROWS[:, :12], 'nv12'), 'needs step'),
        (message(ROWS[:2, :2], 'bayer_rggb8', width=2, height=2), 'at least 3x3'),
        (message(ROWS[:, :12], 'mono16'), 'a row of 12 mono16 pixels takes 24'),
    ],
)
def test_a_lying_message_is_refused_with_what_is_wrong(bad, says):
    with pytest.raises(ImageError, match=says):
        to_frame(bad)


def test_reading_a_720p_picture_costs_nothing():
    """The view must stay one: a copy of 2.7 MB would show in the node's latency."""
    data = array('B', bytes(1280 * 720 * 3))
    source = Image(width=1280, height=720, step=3840, encoding='bgr8', data=data)
    frame = to_frame(source)
    assert frame.pixels.base is not None
    assert frame.pixels.flags.c_contiguous


# --------------------------------------------------------------------------- compressed


def compressed(data, text):
    content = array('B')
    content.frombytes(bytes(data))
    return CompressedImage(format=text, data=content)


def encode(suffix, pixels, *options):
    return cv2.imencode(suffix, pixels, list(options))[1].tobytes()


@pytest.mark.parametrize(
    ('text', 'color'),
    [
        ('jpeg', 'bgr'),
        ('', 'bgr'),
        ('rgb8; jpeg compressed bgr8', 'bgr'),
        ('bgr8; jpeg compressed bgr8', 'bgr'),
        ('bayer_rggb8; jpeg compressed bgr8', 'bgr'),
        ('rgb8; jpeg compressed rgb8', 'rgb'),
    ],
)
def test_jpeg_in_the_channel_order_that_format_tells(picture, text, color):
    stored = picture if color == 'rgb' else picture[..., ::-1]
    frame = compressed_to_frame(compressed(encode('.jpg', stored), text))
    assert frame.color == color
    assert np.abs(rgb_of(frame).astype(int) - picture).mean() < 6


def test_png_is_lossless(picture):
    data = encode('.png', picture[..., ::-1])
    frame = compressed_to_frame(compressed(data, 'bgr8; png compressed bgr8'))
    np.testing.assert_array_equal(rgb_of(frame), picture)


def test_png_grey_deep_and_transparent(picture):
    grey = picture[..., 0]
    expected = np.repeat(grey[..., None], 3, -1)
    for pixels, text in (
        (grey, 'mono8; png compressed '),
        (grey.astype(np.uint16) * 256 + 9, 'mono16; png compressed '),
        (np.dstack([expected, np.zeros_like(grey)]), 'png'),
    ):
        frame = compressed_to_frame(compressed(encode('.png', pixels), text))
        np.testing.assert_array_equal(frame.pixels, expected)


def test_grey_and_progressive_jpeg(picture):
    grey = picture[..., 0]
    for data in (
        encode('.jpg', grey),
        encode('.jpg', grey, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        encode('.jpg', grey, cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
        encode('.jpg', grey) + b'\0\0',  # some cameras pad
    ):
        frame = compressed_to_frame(compressed(data, 'mono8; jpeg compressed '))
        assert np.abs(frame.pixels.astype(int) - grey[..., None]).mean() < 6


def test_exif_orientation_does_not_turn_the_picture(picture):
    """The calibration is the sensor's; a turned picture would not fit it."""
    jpeg = encode('.jpg', picture)
    tiff = b'MM\0*\0\0\0\x08' + b'\0\x01' + b'\x01\x12\0\x03\0\0\0\x01\0\x06\0\0' + b'\0\0\0\0'
    segment = b'Exif\0\0' + tiff
    turned = jpeg[:2] + b'\xff\xe1' + (len(segment) + 2).to_bytes(2, 'big') + segment + jpeg[2:]
    frame = compressed_to_frame(compressed(turned, 'jpeg'))
    assert frame.size == (WIDTH, HEIGHT)


def noise(size):
    return np.random.default_rng(1).integers(0, 255, size, np.uint8)


JPEG = encode('.jpg', noise((240, 320, 3)))
PNG = encode('.png', noise((24, 32, 3)))
HUGE = PNG[:16] + (100_000).to_bytes(4, 'big') * 2 + PNG[24:]
FLIPPED = bytearray(PNG)
FLIPPED[len(PNG) // 2] ^= 0xFF


@pytest.mark.parametrize(
    ('data', 'text', 'says'),
    [
        (b'', 'jpeg', 'empty'),
        (b'hello world', 'jpeg', 'neither jpeg nor png'),
        (JPEG[: len(JPEG) // 2], 'jpeg', 'truncated'),
        (JPEG[: len(JPEG) - 2], 'jpeg', 'truncated'),
        (JPEG[:100], 'jpeg', 'truncated'),
        (JPEG[:3], 'jpeg', 'truncated'),
        (PNG[: len(PNG) // 2], 'png', 'truncated'),
        (PNG[:20], 'png', 'truncated'),
        (HUGE, 'png', '100000x100000'),
        (bytes(FLIPPED), 'png', 'damaged'),
        (PNG, '16UC1; compressedDepth png', 'depth image'),
        (b'RIFF\0\0\0\0WEBP', 'webp', 'neither jpeg nor png'),
    ],
)
def test_bad_compressed_data_are_refused(data, text, says):
    with pytest.raises(ImageError, match=says):
        compressed_to_frame(compressed(data, text))


# ------------------------------------------------------------------------------- output


@pytest.mark.parametrize(
    ('encoding', 'dtype', 'channels'),
    [('mono8', np.uint8, 1), ('rgb8', np.uint8, 3), ('mono16', np.uint16, 1)],
)
def test_what_is_published_reads_back(encoding, dtype, channels):
    pixels = np.random.default_rng(2).integers(0, 255, (5, 7, channels)).astype(dtype)
    if channels == 1:
        pixels = pixels[..., 0]
    out = image_message(pixels, encoding, Header(frame_id='cam'))
    assert (out.width, out.height, out.encoding) == (7, 5, encoding)
    assert out.step == 7 * channels * pixels.itemsize
    assert isinstance(out.data, array)
    np.testing.assert_array_equal(np.frombuffer(out.data, dtype).reshape(pixels.shape), pixels)
    assert to_frame(out).size == (7, 5)


def test_publishing_a_strided_view_packs_it():
    pixels = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)[::2, :, ::-1]
    out = image_message(pixels, 'rgb8', Header())
    np.testing.assert_array_equal(np.frombuffer(out.data, np.uint8).reshape(3, 4, 3), pixels)


@pytest.mark.parametrize(
    ('pixels', 'encoding', 'says'),
    [
        (np.zeros((4, 4), np.float32), 'mono8', 'needs uint8'),
        (np.zeros((4, 4, 4), np.uint8), 'rgb8', r'\[H, W, 3\]'),
        (np.zeros((0, 4), np.uint8), 'mono8', 'needs'),
        (np.zeros(4, np.uint8), 'mono8', 'needs'),
        (np.zeros((4, 4), np.uint8), 'yuyv', 'cannot publish'),
    ],
)
def test_an_array_that_does_not_fit_its_encoding_is_refused(pixels, encoding, says):
    with pytest.raises(ImageError, match=says):
        image_message(pixels, encoding, Header())


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_corrupt_header_takes_no_memory(picture, suffix):
    """A decoder allocates what the header claims: 4 GB were seen for a picture of 1 kB."""
    data = bytearray(encode(suffix, picture))
    at = data.index(b'\xff\xc0') + 5 if suffix == '.jpg' else 16
    sides = (16000, 16000)
    data[at : at + (4 if suffix == '.jpg' else 8)] = b''.join(
        side.to_bytes(2 if suffix == '.jpg' else 4, 'big') for side in sides
    )
    with pytest.raises(ImageError, match='more than its data can hold'):
        compressed_to_frame(compressed(bytes(data), 'jpeg'))


def test_plain_picture_is_no_corrupt_header():
    plain = np.full((2000, 3000, 3), 90, np.uint8)
    for data in (encode('.jpg', plain), encode('.png', plain)):
        assert compressed_to_frame(compressed(data, 'jpeg')).size == (3000, 2000)
