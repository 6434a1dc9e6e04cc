"""What the head and tail of a jpeg or png tell before it is decoded.

A decoder fills what is missing of a truncated jpeg with grey and says nothing, and allocates
whatever size a corrupt header claims; both are found here first.
"""

from __future__ import annotations

import struct

import numpy as np

from seg_perception.core.errors import ImageError

_JPEG = b'\xff\xd8\xff'
_PNG = b'\x89PNG\r\n\x1a\n'
#: Start-of-frame markers (ITU-T T.81, table B.1): C4, C8 and CC mean other things.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
#: Most pixels that a byte can stand for: a jpeg spends at least a bit on each block of 8x8, and
#: deflate shrinks to a 1032nd what may hold 8 pixels a byte.
_JPEG_PIXELS_PER_BYTE = 512
_PNG_PIXELS_PER_BYTE = 8 * 1032
#: Markers without a length: TEM and RST0..RST7.
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})


def check_compressed(data: np.ndarray, format_text: str) -> tuple[int, int]:
    """Check that the data are one whole jpeg or png.

    Args:
        data: uint8 [n], the file.
        format_text: `format` of the message, used in messages and to tell depth images.

    Returns:
        (width, height) in pixels as the header has it.

    Raises:
        ImageError: another codec, or the end is missing.
    """
    if data.size == 0:
        raise ImageError('the compressed image is empty (0 bytes)')
    if 'compressedDepth' in format_text:
        raise ImageError(
            f"'{format_text}' is a depth image: subscribe to the color camera's compressed topic"
        )
    content = memoryview(data)
    if bytes(content[:3]) == _JPEG:
        return _plausible(_jpeg_size(content), len(content) * _JPEG_PIXELS_PER_BYTE)
    if bytes(content[:8]) == _PNG:
        return _plausible(_png_size(content), len(content) * _PNG_PIXELS_PER_BYTE)
    raise ImageError(
        f"the compressed image ('{format_text}', starting with {bytes(content[:4]).hex(' ')}) is "
        'neither jpeg nor png: set the publisher to one of these, or subscribe to the raw image'
    )


def _plausible(size: tuple[int, int], most: int) -> tuple[int, int]:
    """Return the size unless the data cannot hold so many pixels: memory is taken by it."""
    if size[0] * size[1] > most:
        raise ImageError(
            f'the compressed image claims {size[0]}x{size[1]} pixels, more than its data can '
            'hold: a corrupt header'
        )
    return size


def _png_size(content: memoryview) -> tuple[int, int]:
    # IHDR is always first (PNG specification, 5.6): length, 'IHDR', width, height.
    if len(content) < 33 or bytes(content[12:16]) != b'IHDR':
        raise ImageError('the png image has no header: it is truncated')
    if b'IEND' not in bytes(content[-64:]):
        raise ImageError(f'the png image of {len(content)} bytes is truncated: it has no end')
    width, height = struct.unpack('>II', content[16:24])
    return width, height


def _jpeg_size(content: memoryview) -> tuple[int, int]:
    """Walk the marker segments up to the first scan (ITU-T T.81, annex B)."""
    size = None
    at = 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            break
        marker = content[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _BARE:
            at += 2
            continue
        (length,) = struct.unpack('>H', content[at + 2 : at + 4])
        if marker in _START_OF_FRAME and at + 9 <= len(content):
            height, width = struct.unpack('>HH', content[at + 5 : at + 9])
            size = width, height
        if marker == _START_OF_SCAN:
            return _whole_jpeg(content, at + 2 + length, size)
        if length < 2:
            break
        at += 2 + length
    raise ImageError(f'the jpeg image of {len(content)} bytes is truncated or damaged: no scan')


def _whole_jpeg(content: memoryview, scan: int, size: tuple[int, int] | None) -> tuple[int, int]:
    # Within a scan 0xFF is always followed by 0, so this pair is the end-of-image marker and
    # nothing else; one in front of the scan would be a thumbnail's.
    # Usually it is the last thing in the data, so look there first.
    end_of_image = b'\xff\xd9'
    tail = bytes(content[max(scan, len(content) - 64) :])
    if end_of_image not in tail and end_of_image not in bytes(content[scan:]):
        raise ImageError(f'the jpeg image of {len(content)} bytes is truncated: it has no end')
    if size is None:
        raise ImageError('the jpeg image names no size: it is damaged')
    return size
