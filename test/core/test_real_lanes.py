"""Straight lanes of a real, distorting camera come out straight, parallel and as wide as they are.

The highway frames show lane lines of US interstates, 12 ft (3.66 m) apart (AASHTO, "A Policy on
Geometric Design of Highways and Streets"). The pose: pitch and yaw of each frame from where its
own lane's two lines meet (springs and slopes move them between frames), the height from one
frame's lane for both.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_perception.core.camera import CameraModel
from seg_perception.core.grid import GridSpec, pose_from_mounting
from seg_perception.core.ground import GroundProjector
from seg_perception.core.ground_classes import GroundClasses
from seg_perception.core.labels import LabelClass, LabelSet, Role

DATA = Path(__file__).resolve().parents[2] / '../shared/data/udacity'
LANE = 3.66
GRID = GridSpec(0.1, 4.0, 32.0, -9.0, 9.0)
LABELS = LabelSet(
    'lanes',
    (
        LabelClass(0, 'asphalt', (0, 0, 0), Role.DRIVABLE, 0),
        LabelClass(1, 'marking', (255, 255, 255), Role.OBSTACLE, 100, flat=True),
    ),
)
#: Where to look for each line: (u, v) near and far, pixels. The first two bound the camera's lane.
LINES = {
    'straight_lines1': [
        ((265, 675), (604, 445)),
        ((1040, 675), (655, 430)),
        ((1803, 675), (757, 448)),
    ],
    'straight_lines2': [
        ((283, 675), (600, 450)),
        ((1045, 675), (680, 445)),
        ((-468, 675), (512, 448)),
    ],
}
TOP, BOTTOM = 440, 676  # rows between the far end of the lines and the hood

pytestmark = pytest.mark.skipif(
    not (DATA / 'camera_1280x720.json').is_file(), reason='needs ../shared/data/udacity'
)


def camera():
    facts = json.loads((DATA / 'camera_1280x720.json').read_text())
    return CameraModel.create(facts['width'], facts['height'], facts['K'], facts['D'])


def markings(name):
    """Return bool [h,w] for each line: the yellow or bright pixels near it."""
    picture = cv2.imread(str(DATA / 'frames_1280x720' / f'{name}.jpg'))
    hue, light, strength = cv2.split(cv2.cvtColor(picture, cv2.COLOR_BGR2HLS))
    paint = (light > 185) | ((hue > 14) & (hue < 30) & (strength > 90) & (light > 90))
    rows = np.arange(len(paint))
    paint &= ((rows >= TOP) & (rows < BOTTOM))[:, None]
    return [paint & _near(line, paint.shape) for line in LINES[name]]


def _near(line, shape):
    (u0, v0), (u1, v1) = line
    v, u = np.mgrid[: shape[0], : shape[1]]
    middle = u0 + (u1 - u0) * (v - v0) / (v1 - v0)
    return np.abs(u - middle) < 6 + 0.06 * (v - 430)


def line_of_rays(paint):
    """Return k, c of x = k y + c on the plane z = 1 before the lens."""
    v, u = np.nonzero(paint)
    rays, valid = camera().rays(np.stack([u, v], axis=1).astype(float))
    x, y = (rays[valid, :2] / rays[valid, 2:]).T
    return np.polyfit(y, x, 1)


def mounting(lines, height):
    """Return the pose whose x axis runs along the lane that two lines of rays bound."""
    (k1, c1), (k2, c2) = lines
    y = (c2 - c1) / (k1 - k2)
    x = k1 * y + c1
    return pose_from_mounting(0, 0, height, 0, -np.arctan(y), np.arctan(x))


@pytest.fixture(scope='module')
def height():
    """Height of the lens over the road, from one frame's lane."""
    left, right, _ = markings('straight_lines2')
    lines = line_of_rays(left), line_of_rays(right)
    # A line on the road h below the camera and a aside of it has the slope a / h.
    found = LANE / abs(lines[0][0] - lines[1][0])
    assert 1.1 < found < 1.4, 'a saloon car'
    return found


@pytest.mark.parametrize('name', LINES)
def test_lanes_are_straight_parallel_and_of_their_width(name, height):
    parts = markings(name)
    pose = mounting([line_of_rays(part) for part in parts[:2]], height)
    projector = GroundProjector(camera(), pose, GRID)
    # A row of the picture spans 0.6 m at 30 m: seen aslant, the next lane's dashes stray more.
    limits = (0.12, 0.12, 0.3)
    found = [_line_on_the_ground(projector, *pair) for pair in zip(parts, limits, strict=True)]
    slopes = np.array([slope for slope, _ in found])
    assert np.abs(slopes).max() < np.tan(np.deg2rad(0.6)), 'along the lane, so along x'
    assert np.ptp(slopes) < np.tan(np.deg2rad(0.6)), 'parallel'
    for x in (5.0, 15.0, 30.0):
        left, right, beside = (np.polyval(line, x) for line in found)
        assert left - right == pytest.approx(LANE, rel=0.05), f'{x} m ahead'
        next_lane = min(abs(beside - left), abs(beside - right))
        assert next_lane == pytest.approx(LANE, rel=0.05), f'the next lane, {x} m ahead'


def _line_on_the_ground(projector, paint, limit):
    """Return slope and offset of a painted line's cells, which must not stray from it."""
    labels = paint.astype(np.uint8)
    confident = np.full(labels.shape, 255, np.uint8)
    cells = projector.observe(labels, confident, GroundClasses.of(LABELS)).cells
    iy, ix = np.nonzero(cells == 100)
    assert len(ix) > 20
    assert np.ptp(ix) * GRID.resolution > 12, 'the line reaches far'
    x = GRID.x_min + (ix + 0.5) * GRID.resolution
    y = GRID.y_min + (iy + 0.5) * GRID.resolution
    line = np.polyfit(x, y, 1)
    stray = y - np.polyval(line, x)
    # Metre by metre where there is paint.
    metres = [stray[x // 1 == metre] for metre in np.unique(x // 1)]
    middles = [np.median(cells) for cells in metres if len(cells) >= 10]
    assert len(middles) >= 5
    assert np.abs(middles).max() < limit, 'straight'
    return line
