"""Where objects stand, against a camera whose geometry anyone can work out."""

from __future__ import annotations

import numpy as np
import pytest

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import CameraModelError
from seg_perception.core.footprints import footprints
from seg_perception.core.grid import pose_from_mounting
from seg_perception.core.instances import Region
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import Instances

LABELS = LabelSet.named('street_objects')
SIZE, FOCAL, HEIGHT = (640, 480), 400.0, 1.5
CAMERA = CameraModel.create(*SIZE, [FOCAL, 0, 319.5, 0, FOCAL, 239.5, 0, 0, 1])
LEVEL = pose_from_mounting(0.0, 0.0, HEIGHT, 0.0, 0.0, 0.0)


def standing(*boxes: tuple[int, int, int, int], label: int = 2):
    """Objects that fill their boxes: x1, y1, x2, y2 in pixels, x2 and y2 left out."""
    count = len(boxes)
    instances = Instances(
        np.full(count, label, np.int32),
        np.ones(count, np.float32),
        np.array(boxes, np.float32),
        np.ones((count, 28, 28), np.float32),
        SIZE,
    )
    regions = [Region(x1, y1, np.ones((y2 - y1, x2 - x1), bool)) for x1, y1, x2, y2 in boxes]
    return instances, regions


def test_a_car_ahead_stands_where_similar_triangles_put_it():
    """60 rows below the horizon at a focal length of 400: 1.5 * 400 / 60 = 10 m ahead."""
    (found,) = footprints(*standing((300, 200, 340, 300)), LABELS, CAMERA, LEVEL)
    near, far = found.corners[:2], found.corners[2:]
    assert near[:, 0] == pytest.approx([10.0, 10.0], abs=0.01)
    assert near[0, 1] == pytest.approx(19.5 / 40, abs=0.01), 'left first'
    assert near[1, 1] == pytest.approx(-19.5 / 40, abs=0.01)
    assert far[:, 0] == pytest.approx([10 + LABELS.classes[2].footprint] * 2, abs=0.01)


def test_only_wheels_and_feet_touch_the_ground():
    instances, _ = standing((300, 200, 340, 300))
    mask = np.zeros((100, 40), bool)
    mask[:80] = True  # the body
    mask[:, 2:10] = True  # one wheel, 20 rows lower
    (found,) = footprints(instances, [Region(300, 200, mask)], LABELS, CAMERA, LEVEL)
    assert found.corners[:2, 0] == pytest.approx([10.0, 10.0], abs=0.05)
    width = np.linalg.norm(found.corners[0] - found.corners[1])
    assert width == pytest.approx(7 / 40, abs=0.06)


def test_what_does_not_show_its_contact_has_no_footprint():
    cut, flying, far = (100, 300, 200, 480), (300, 100, 340, 200), (300, 200, 340, 242)
    assert footprints(*standing(cut, flying, far), LABELS, CAMERA, LEVEL) == []
    (seen,) = footprints(*standing(cut, (300, 200, 340, 300)), LABELS, CAMERA, LEVEL)
    assert seen.index == 1


def test_a_turned_camera_turns_the_footprint():
    pose = pose_from_mounting(2.0, 1.0, HEIGHT, 0.0, 0.0, np.pi / 2)
    (found,) = footprints(*standing((300, 200, 340, 300)), LABELS, CAMERA, pose)
    assert found.corners[0] == pytest.approx([2 - 19.5 / 40, 11.0], abs=0.02)


def test_none_an_empty_mask_and_another_calibration():
    assert footprints(Instances.none(SIZE), [], LABELS, CAMERA, LEVEL) == []
    instances, _ = standing((300, 200, 340, 300))
    empty = Region(0, 0, np.zeros((0, 0), bool))
    assert footprints(instances, [empty], LABELS, CAMERA, LEVEL) == []
    with pytest.raises(CameraModelError, match='640x480'):
        footprints(instances, [empty], LABELS, CAMERA.scaled(320, 240), LEVEL)
