"""The parameters of instance_node and panoptic_node."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from seg_perception.core.errors import LabelSetError, ParameterError
from seg_perception.core.instances import Selection, read_class_score
from seg_perception.core.labels import LabelSet
from seg_perception.core.panoptic import FusionRules
from seg_perception.ros.camera_parameters import (
    CameraPoseParameters,
    ManagedParameters,
    ModelParameters,
)
from seg_perception.ros.parameter_scheme import check_frame_id, check_values, parameter


@dataclass(frozen=True)
class InstanceParameters(CameraPoseParameters, ManagedParameters, ModelParameters):
    """Parameters of instance_node; an instance is always valid.

    Raises:
        ParameterError: a value is out of range or contradicts another.
    """

    model: str = parameter(
        'maskrcnn_mobilenetv2_street',
        'Model bundle of the task instance: the name of one that `seg-perception models list` '
        'shows, or the path of its folder.',
        reconfigure=True,
    )
    stale_after: float = parameter(
        5.0,
        'Without an image, or with one in work, for this long diagnostics report an error.',
        unit='s',
        low=0.05,
        high=60.0,
    )
    min_score: float = parameter(0.5, 'Objects of a lower score are left out.', low=0.0, high=1.0)
    class_scores: tuple[str, ...] = parameter(
        (),
        "Least scores of single classes, '<class>:<score>', for example ['person:0.3']. "
        "[''] = none.",
        empty=('',),
    )
    classes: tuple[str, ...] = parameter(
        (), "The classes to look for; [''] = all the model has.", empty=('',)
    )
    max_detections: int = parameter(
        100, 'Of more objects, those of the best scores are kept.', low=1, high=1000
    )
    min_area: int = parameter(
        0, 'Objects of fewer pixels are left out.', unit='px', low=0, high=100000000
    )
    tracking: str = parameter(
        'auto',
        'Whether the same object keeps its id from image to image. auto tracks where '
        'edgefirst-tracker is installed, on fails without it, off numbers the objects of each '
        'image anew, the best first.',
        choices=('auto', 'on', 'off'),
        reconfigure=True,
    )
    track_min_score: float = parameter(
        0.5,
        'Objects of a lower score may go on with a track, but begin none.',
        group='track',
        low=0.0,
        high=1.0,
        reconfigure=True,
    )
    track_min_overlap: float = parameter(
        0.25,
        'Least intersection over union of an object with where it is expected.',
        group='track',
        low=0.01,
        high=0.99,
        reconfigure=True,
    )
    track_memory: float = parameter(
        2.0,
        'How long an object that is not seen keeps its id.',
        group='track',
        unit='s',
        low=0.05,
        high=60.0,
        reconfigure=True,
    )
    track_max_id: int = parameter(
        999,
        'Ids run 1..max_id and start again, leaving out those in use. Above 999 the numbers of '
        '~/panoptic (class x 1000 + id) are no longer the ids.',
        group='track',
        low=1,
        high=65535,
        reconfigure=True,
    )
    ground_frame_id: str = parameter(
        'base_link',
        'Frame of ~/markers: x ahead, y left, z = 0 on the ground (REP 105 base_link or '
        'base_footprint).',
        group='ground',
        reconfigure=True,
    )
    ground_max_range: float = parameter(
        60.0, 'Objects farther away get no marker.', group='ground', unit='m', low=1.0, high=500.0
    )

    def __post_init__(self) -> None:
        check_values(self)
        self.check_model()
        check_frame_id('ground.frame_id', self.ground_frame_id)
        for text in self.class_scores:
            try:
                read_class_score(text)
            except ParameterError as error:
                raise ParameterError(f"'class_scores': {error}") from error
        if self.tracking != 'off' and self.track_max_id < self.max_detections:
            raise ParameterError(
                f"'track.max_id' ({self.track_max_id}) must be at least 'max_detections' "
                f'({self.max_detections}): each object of an image needs an id of its own'
            )

    @property
    def base_frame(self) -> str:
        return self.ground_frame_id

    def selection(self, labels: LabelSet) -> Selection:
        """Return which objects of a model count.

        Raises:
            LabelSetError: `classes` or `class_scores` names a class the model does not have.
        """
        try:
            return Selection.of(
                labels,
                self.min_score,
                class_scores=self.class_scores,
                classes=self.classes,
                min_area=self.min_area,
                max_detections=self.max_detections,
            )
        except LabelSetError as error:
            raise LabelSetError(f"'classes' or 'class_scores': {error}") from error


@dataclass(frozen=True)
class PanopticParameters(ManagedParameters):
    """Parameters of panoptic_node; an instance is always valid.

    Raises:
        ParameterError: a value is out of range or contradicts another.
    """

    stale_after: float = parameter(
        5.0,
        'Without a mask or an instance image for this long diagnostics report an error.',
        unit='s',
        low=0.05,
        high=60.0,
    )
    max_stamp_difference: float = parameter(
        0.1,
        'How far the stamps of mask and instances may lie apart: the nearest mask within it is '
        'taken. 0 = equal stamps only.',
        unit='s',
        low=0.0,
        high=10.0,
    )
    memory: float = parameter(
        3.0,
        'How long masks wait for the instances of the same picture; longer than the instance '
        'network takes for one.',
        unit='s',
        low=0.1,
        high=60.0,
        reconfigure=True,
    )
    min_score: float = parameter(0.5, 'Objects of a lower score are left out.', low=0.0, high=1.0)
    min_visible: float = parameter(
        0.5,
        'An object of which better ones leave less than this share to see is left out.',
        low=0.0,
        high=1.0,
    )
    min_stuff_area: int = parameter(
        0,
        'Background classes with fewer pixels in the picture become void.',
        unit='px',
        low=0,
        high=100000000,
    )
    group_things: bool = parameter(
        False,
        'What the mask calls an object but no instance covers: false makes it void, true a group '
        '(class x 1000 + 0).',
    )
    same_classes: tuple[str, ...] = parameter(
        (),
        "Classes that mask and instances name differently, '<instance class>:<mask class>', for "
        "example ['truck:vehicle']. [''] = none. Equal names belong together anyhow; instance "
        'classes that the mask lacks are added behind its own.',
        empty=('',),
    )

    def __post_init__(self) -> None:
        check_values(self)
        for text in self.same_classes:
            parts = [part.strip() for part in text.split(':')]
            if len(parts) != 2 or not all(parts):
                raise ParameterError(
                    f"'same_classes' holds '{text}'; write '<instance class>:<mask class>'"
                )
        if self.max_stamp_difference > self.memory:
            raise ParameterError(
                f"'max_stamp_difference' ({self.max_stamp_difference:g} s) must not exceed "
                f"'memory' ({self.memory:g} s)"
            )

    @cached_property
    def renamed(self) -> dict[str, str]:
        """Mask class of each instance class that is called otherwise there."""
        pairs = (text.split(':') for text in self.same_classes)
        return {instance.strip(): mask.strip() for instance, mask in pairs}

    @cached_property
    def rules(self) -> FusionRules:
        """The thresholds of the fusion."""
        return FusionRules(
            self.min_score, self.min_visible, self.min_stuff_area, self.group_things
        )


if __name__ == '__main__':
    import sys

    from seg_perception.ros.parameter_scheme import render_yaml

    kinds = {'instance': InstanceParameters, 'panoptic': PanopticParameters}
    print(render_yaml(kinds[sys.argv[1]]), end='')
