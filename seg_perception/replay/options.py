"""What a replay was asked for; plain data that travels to other processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_perception.core.errors import ParameterError
from seg_perception.ros.instance_parameters import InstanceParameters
from seg_perception.ros.parameter_files import load_parameters
from seg_perception.ros.parameters import SegmentationParameters


@dataclass(frozen=True)
class ReplayOptions:
    """Everything but the bag and the output folder.

    Attributes:
        models: bundles to replay, names or paths; empty = the one the parameters name.
        instance_model: bundle of the task instance, whose objects are written and scored too.
        reference: bundle of a larger model that stands in for the truth.
        params_files: parameter YAML of segmentation_node and instance_node.
        overrides: (ROS name, value) pairs that win over the files; instance_overrides: those
            of instance_node.
        cameras: image topics or camera names; empty = all cameras of the bag.
        truth: where labels come from, each ``[CAMERA=]WHERE`` (see ``replay.truth``).
        truth_labels: label set of the truth; '' = the model's own.
        truth_match: how a folder's labels find their frames: auto, stamp or order.
        limit: frames a camera; 0 = all.
        temporal: estimate the motion between frames to measure flicker.
        pictures: frames shown of each kind (best, worst, disagreement).
        resume: go on with what an interrupted replay left.
        overwrite: replace what another replay left.
    """

    models: tuple[str, ...] = ()
    instance_model: str = ''
    reference: str = ''
    params_files: tuple[Path, ...] = ()
    overrides: tuple[tuple[str, Any], ...] = ()
    instance_overrides: tuple[tuple[str, Any], ...] = ()
    cameras: tuple[str, ...] = ()
    truth: tuple[str, ...] = ()
    truth_labels: str = ''
    truth_match: str = 'auto'
    limit: int = 0
    temporal: bool = True
    pictures: int = 4
    resume: bool = False
    overwrite: bool = False

    def parameters(self, model: str = '') -> SegmentationParameters:
        """Return the node's parameters, with another model where one is named.

        Raises:
            ParameterError: a file or value is wrong.
        """
        overrides = dict(self.overrides)
        if model:
            overrides['model'] = model
        return load_parameters(SegmentationParameters, self.params_files, overrides)

    def instance_parameters(self) -> InstanceParameters:
        """Return instance_node's parameters with the model asked for.

        Raises:
            ParameterError: a file or value is wrong.
        """
        overrides = {**dict(self.instance_overrides), 'model': self.instance_model}
        return load_parameters(InstanceParameters, self.params_files, overrides, '/instance_node')

    def model_names(self) -> list[str]:
        """Return the bundles to replay, at least one."""
        return list(self.models) or [self.parameters().model]

    def check(self) -> None:
        """Refuse what cannot be, before any bag is opened.

        Raises:
            ParameterError: naming the option.
        """
        if self.limit < 0 or self.pictures < 1:
            raise ParameterError('--limit must be 0 (all) or more, --pictures at least 1')
        if self.resume and self.overwrite:
            raise ParameterError('--resume and --overwrite contradict each other: give one')
        for name in self.model_names():
            self.parameters(name)
        if self.instance_model:
            self.instance_parameters()
