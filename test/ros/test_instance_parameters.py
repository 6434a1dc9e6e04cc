"""Parameters of the instance and the panoptic node: files of defaults, contradictions."""

from __future__ import annotations

from pathlib import Path

import pytest

from seg_perception.core.errors import LabelSetError, ParameterError
from seg_perception.core.labels import LabelSet
from seg_perception.ros.instance_parameters import InstanceParameters, PanopticParameters
from seg_perception.ros.parameter_scheme import fields_by_ros_name, info_of, render_yaml

ROOT = Path(__file__).resolve().parents[2]
LABELS = LabelSet.named('street_objects')


@pytest.mark.parametrize(
    ('name', 'cls'), [('instance', InstanceParameters), ('panoptic', PanopticParameters)]
)
def test_the_parameter_files_are_the_parameters(name, cls):
    path = ROOT / 'config' / f'{name}.yaml'
    assert path.read_text() == render_yaml(cls), (
        f'write it anew: python -m seg_perception.ros.instance_parameters {name} > {path}'
    )
    assert all(info_of(field).description for field in fields_by_ros_name(cls).values())


@pytest.mark.parametrize(
    ('cls', 'values', 'reason'),
    [
        (InstanceParameters, {'model': ' '}, 'models list'),
        (InstanceParameters, {'class_scores': ('person',)}, '<class>:<score>'),
        (InstanceParameters, {'max_detections': 1000}, r'track\.max_id'),
        (InstanceParameters, {'ground_frame_id': '/base'}, r'ground\.frame_id'),
        (InstanceParameters, {'tracking': 'maybe'}, 'auto, on, off'),
        (PanopticParameters, {'same_classes': ('truck',)}, '<instance class>:<mask class>'),
        (PanopticParameters, {'max_stamp_difference': 5.0}, 'memory'),
        (PanopticParameters, {'min_visible': 1.5}, 'in 0'),
    ],
)
def test_what_is_wrong_is_said(cls, values, reason):
    with pytest.raises(ParameterError, match=reason):
        cls(**values)


def test_without_tracking_any_number_of_objects_may_be_numbered():
    assert InstanceParameters(tracking='off', max_detections=1000).max_detections == 1000


def test_a_selection_is_that_of_the_models_classes():
    p = InstanceParameters(classes=('car', 'person'), class_scores=('car:0.7',), min_score=0.3)
    table = p.selection(LABELS).min_score
    assert table[LABELS.index('car')] == pytest.approx(0.7)
    assert table[LABELS.index('person')] == pytest.approx(0.3)
    assert table[LABELS.index('bus')] > 1
    with pytest.raises(LabelSetError, match="'classes'"):
        InstanceParameters(classes=('lamp',)).selection(LABELS)


def test_renamed_classes():
    p = PanopticParameters(same_classes=('truck:vehicle', ' car : vehicle'))
    assert p.renamed == {'truck': 'vehicle', 'car': 'vehicle'}
