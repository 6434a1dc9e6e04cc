"""From mask to fused cells: what the node and the replay both run."""

import numpy as np
import pytest

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import GroundError
from seg_perception.core.fusion_options import FusionOptions
from seg_perception.core.grid import GridSpec, pose_from_mounting
from seg_perception.core.ground_options import ProjectionOptions
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import SemanticResult
from seg_perception.runtime.pipeline import Pipeline

LABELS = LabelSet.named('camvid')
ROAD, CAR, PAVEMENT = (LABELS.index(name) for name in ('road', 'car', 'pavement'))
CAMERA = CameraModel.create(320, 192, [230, 0, 159.5, 0, 230, 95.5, 0, 0, 1])
GRID = GridSpec(0.2, 0, 12, -4, 4)
AHEAD = pose_from_mounting(0, 0, 1.5, 0, 0.2, 0)
LEFT = pose_from_mounting(0, 0, 1.5, 0, 0.2, 0.6)
OPTIONS = ProjectionOptions()


class NoNetwork:
    labels = LABELS

    def __init__(self) -> None:
        self.last_timing: dict[str, float] = {}


def mask(value: int = ROAD, size: tuple[int, int] = (160, 96)) -> SemanticResult:
    labels = np.full(size[::-1], value, np.uint8)
    return SemanticResult(labels, np.full(labels.shape, 255, np.uint8), (320, 192))


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline(NoNetwork(), LABELS)


def test_each_camera_keeps_its_table(pipeline):
    front = pipeline.project(mask(), CAMERA, AHEAD, GRID, OPTIONS, camera_id='front')
    left = pipeline.project(mask(), CAMERA, LEFT, GRID, OPTIONS, camera_id='left')
    tables = dict(pipeline._projectors)
    again = pipeline.project(mask(), CAMERA, AHEAD, GRID, OPTIONS, camera_id='front')
    assert pipeline._projectors['front'][1] is tables['front'][1]
    assert (again.cells == front.cells).all()
    pipeline.fuse(left, np.eye(4), 0.0)
    both = pipeline.fuse(front, np.eye(4), 0.01)
    assert ((both.cells == 0) == ((front.cells == 0) | (left.cells == 0))).mean() > 0.99
    assert {'project', 'fuse'} <= set(pipeline.timing.stages)


def test_fused_cells_come_in_either_frame_and_without_a_new_frame(pipeline):
    assert pipeline.fused(np.eye(4), 0.0) is None
    frame = pipeline.project(mask(), CAMERA, AHEAD, GRID, OPTIONS)
    base = pipeline.fuse(frame, np.eye(4), 0.0)
    assert (base.frame, base.spec, base.reset) == ('base', GRID, '')
    odom = pipeline.fuse(frame, np.eye(4), 0.05, frame='odom')
    assert odom.cells.shape == odom.spec.shape
    assert (odom.cells == 0).sum() == (base.cells == 0).sum()
    later = pipeline.fused(np.eye(4), 0.3)
    assert (later.cells == base.cells).all()
    assert not pipeline.fused(np.eye(4), 30.0).sees_ground
    pipeline.reset_fusion()
    assert pipeline.fused(np.eye(4), 0.3) is None


def test_a_jump_is_reported_and_other_rates_begin_anew(pipeline):
    frame = pipeline.project(mask(), CAMERA, AHEAD, GRID, OPTIONS)
    pipeline.fuse(frame, np.eye(4), 1.0)
    assert 'back' in pipeline.fuse(frame, np.eye(4), 0.0).reset
    unknown = pipeline.project(mask(255), CAMERA, AHEAD, GRID, OPTIONS)
    assert (pipeline.fuse(unknown, np.eye(4), 0.1).cells == 0).any()
    anew = pipeline.fuse(unknown, np.eye(4), 0.2, options=FusionOptions(miss=1.3))
    assert (anew.cells == -1).all()


def test_graded_cells_carry_the_costs_of_the_classes(pipeline):
    graded = ProjectionOptions(graded=True)
    frame = pipeline.project(mask(PAVEMENT), CAMERA, AHEAD, GRID, graded)
    assert set(np.unique(frame.cells)) == {-1, 60}
    fused = pipeline.fuse(frame, np.eye(4), 0.0, graded=True)
    assert set(np.unique(fused.cells)) == {-1, 60}
    assert set(
        np.unique(pipeline.project(mask(PAVEMENT), CAMERA, AHEAD, GRID, OPTIONS).cells)
    ) == {-1, 100}


def test_instances_come_at_any_size_but_not_in_any_type(pipeline):
    ids = np.zeros((192, 320), np.uint16)
    pipeline.project(mask(), CAMERA, AHEAD, GRID, OPTIONS, instances=ids)
    with pytest.raises(GroundError, match='uint16'):
        pipeline.project(mask(), CAMERA, AHEAD, GRID, OPTIONS, instances=ids.astype(np.int32))
    with pytest.raises(GroundError, match='frame must be'):
        pipeline.fuse(
            pipeline.project(mask(), CAMERA, AHEAD, GRID, OPTIONS), np.eye(4), 0.0, frame='map'
        )
