"""What cameras say of the ground together, as the node and the replay run it; no messages."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import ExtrinsicsError, OdometryError
from seg_perception.core.fusion_options import FusionOptions
from seg_perception.core.grid import GridSpec, GroundPlane, pose_from_mounting
from seg_perception.core.ground_options import ProjectionOptions
from seg_perception.core.image_quality import QualityLimits
from seg_perception.core.labels import LabelSet
from seg_perception.core.motion import Motion
from seg_perception.core.results import SemanticResult
from seg_perception.runtime.ground_update import Sight
from seg_perception.runtime.pipeline import Pipeline
from seg_perception.runtime.shared_ground import SharedGround

LABELS = LabelSet.named('camvid')
ROAD, CAR = LABELS.index('road'), LABELS.index('car')
CAMERA = CameraModel.create(320, 192, [230, 0, 159.5, 0, 230, 95.5, 0, 0, 1])
YAWS = {'': 0.0, 'front': 0.0, 'rear': np.pi}
DARK = np.zeros((192, 320, 3), np.uint8)
SECOND = 10**9


@dataclass(frozen=True)
class Settings:
    quality_enabled: bool = True
    quality_max_frozen: float = 1.0
    stale_after: float = 0.5
    grid_frame_id: str = 'base_link'
    grid_publish_in: str = 'auto'
    grid_graded: bool = False
    fusion_enabled: bool = True
    quality_limits: QualityLimits = field(default_factory=QualityLimits)
    grid_spec: GridSpec = field(default_factory=lambda: GridSpec(0.2, -12, 12, -4, 4))
    plane: GroundPlane = field(default_factory=GroundPlane)
    projection: ProjectionOptions = field(default_factory=ProjectionOptions)
    fusion: FusionOptions = field(default_factory=FusionOptions)


class Robot:
    """Whereabouts that a test sets."""

    def __init__(self) -> None:
        self.x: float | None = None
        self.behind = 0.0
        self.jumped = ''
        self.mounted = True

    def robot(self, stamp):
        if self.jumped:
            raise OdometryError(self.jumped)
        pose = np.eye(4)
        pose[0, 3] = self.x or 0.0
        return None if self.x is None else Motion(pose, 'odom')

    def lead(self, stamp):
        return self.behind

    def camera(self, name, frame_id, stamp, motion):
        if not self.mounted:
            raise ExtrinsicsError(f"no transform from '{frame_id}'")
        return pose_from_mounting(0, 0, 1.5, 0, 0.2, YAWS[name])

    def take_interruption(self):
        told, self.jumped = self.jumped, ''
        return told

    def clear(self):
        self.x = None


class NoNetwork:
    labels = LABELS


class World:
    """A robot, its cameras and a clock that a test turns."""

    def __init__(self, *cameras: str, **settings) -> None:
        self.p = Settings(**settings)
        self.now = 100.0
        self.robot = Robot()
        pipeline = Pipeline(NoNetwork(), LABELS)
        self.ground = SharedGround(pipeline, self.robot, cameras, lambda: self.now)
        self._noise = np.random.default_rng(1)

    def sight(self, camera: str = '', label: int = ROAD, pixels=None) -> Sight:
        if pixels is None:
            pixels = self._noise.integers(0, 255, (192, 320, 3), dtype=np.uint8)
        labels = np.full((96, 160), label, np.uint8)
        result = SemanticResult(labels, np.full(labels.shape, 255, np.uint8), (320, 192))
        stamp = round(self.now * SECOND)
        return Sight(camera, 'optical', stamp, self.now, pixels, 'rgb', result, CAMERA)

    def show(self, *args, around=True, **kwargs):
        update = self.ground.show(self.sight(*args, **kwargs), self.p, around=around)
        self.now += 0.1
        return update


def free(cells: np.ndarray) -> int:
    return int((cells == 0).sum())


def test_without_odometry_a_frame_stands_alone_in_the_robots_frame():
    world = World('')
    update = world.show()
    assert (update.frame_id, update.spec, update.alone) == ('base_link', world.p.grid_spec, True)
    assert free(update.cells) > 100
    assert set(update.problems.values()) == {None}
    assert free(world.show('', CAR).cells) == 0  # what the frame before freed is not kept


@pytest.mark.parametrize('fusion', [True, False])
def test_with_odometry_cells_lie_in_its_frame_and_around_the_robot(fusion):
    world = World('', fusion_enabled=fusion)
    world.robot.x = 3.1
    update = world.show()
    assert update.frame_id == 'odom'
    assert update.spec.x_min <= 3.1 - 12
    assert update.spec.x_max >= 3.1 + 12
    assert free(update.around) == pytest.approx(free(update.cells), rel=0.05)
    assert world.show(around=False).around is None
    inside = World('', grid_publish_in='base')
    inside.robot.x = 3.1
    update = inside.show(around=False)
    assert (update.frame_id, update.spec) == ('base_link', inside.p.grid_spec)
    assert update.around is update.cells


def test_what_cannot_be_placed_is_unknown_and_says_why():
    world = World('')
    world.robot.x = 0.0
    world.show()
    world.robot.behind = 2.0
    update = world.show()
    assert update.cells is None
    assert not update.left_to_others
    assert 'older than the newest odometry' in update.problems['odometry'].text
    world.robot.behind, world.robot.mounted = 0.0, False
    assert "transform from 'optical'" in world.show().problems['transform'].text
    world.robot.mounted = True
    assert world.show().problems['transform'] is None
    sight = replace(world.sight(), model=None)
    assert world.ground.show(sight, world.p).cells is None


def test_a_jump_forgets_what_was_free():
    world = World('')
    world.robot.x = 0.0
    before = free(world.show().cells)
    world.robot.jumped = 'odometry jumped'
    update = world.show()
    assert update.cells is None
    assert update.events == [('odometry interruptions', 'odometry jumped: the grid starts anew')]
    after = world.show('', CAR)
    assert before > 0
    assert free(after.cells) == 0


def test_a_picture_is_judged_and_its_brief_reason_can_be_counted():
    world = World('')
    world.robot.x = 0.0
    world.show()
    update = world.show(pixels=DARK)
    reason = update.problems['picture']
    assert update.cells is None
    assert update.picture == 'dark'
    assert 'luminance of 0 of 255' in reason.text
    assert reason.brief == 'the picture is not to be believed (dark): the grid is unknown'
    assert world.show().cells is None  # for `recovery` seconds more
    world.now += 1.0
    assert free(world.show('', CAR).cells) == 0  # and what it had shown is forgotten
    blind = World('', quality_enabled=False)
    assert blind.show(pixels=DARK).cells is not None


def test_a_picture_that_stays_while_the_robot_moves_is_frozen():
    world = World('')
    pixels = np.random.default_rng(2).integers(0, 255, (192, 320, 3), dtype=np.uint8)
    shown = []
    for world.robot.x in (0.0, 0.6, 1.2):
        shown.append(world.show(pixels=pixels))
    assert [update.picture for update in shown] == ['good', 'good', 'frozen']
    assert shown[2].cells is None
    assert world.show().problems['picture'] is None


def test_of_several_cameras_a_blind_ones_sector_is_unknown():
    world = World('front', 'rear')
    world.robot.x = 0.0
    world.show('rear')
    both = world.show('front')
    half = both.around.shape[1] // 2
    assert free(both.around[:, :half]) > 50
    assert free(both.around[:, half:]) > 50
    assert both.blind == ()
    lost = world.show('rear', pixels=DARK)
    assert lost.cells is None
    assert lost.left_to_others
    alone = world.show('front')
    assert alone.blind == ('rear',)
    assert free(alone.around[:, :half]) == 0
    assert free(alone.around[:, half:]) > 50
    world.now += 1.0  # older than stale_after
    assert not world.show('rear', pixels=DARK).left_to_others


def test_without_odometry_only_pictures_of_one_time_are_merged():
    world = World('front', 'rear')
    one = free(world.show('front').cells)
    two = free(world.show('rear').cells)
    assert two > 1.5 * one
    world.now += 0.3
    assert free(world.show('front').cells) == one


def test_an_interruption_voids_what_is_in_work_and_all_before():
    world = World('')
    world.robot.x = 0.0
    world.show()
    waiting = world.sight()
    world.now += 0.05
    world.ground.interrupt()
    assert world.ground.show(waiting, world.p).cells is None
    assert free(world.show('', CAR).cells) == 0
    world.show()
    world.ground.clear()
    assert world.robot.x is None
    assert world.show().frame_id == 'base_link'
