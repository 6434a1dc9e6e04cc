import pytest

from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.coco import CocoDataset


@pytest.fixture(scope='session')
def rendered_street(tmp_path_factory):
    """A folder of two rendered frames with label maps and objects."""
    pytest.importorskip('panda3d', reason='needs panda3d: see requirements/runtime.txt')
    from seg_perception.simulation.dataset import write_dataset

    return write_dataset(tmp_path_factory.mktemp('street'), 2, 320, 192, seed=3)


@pytest.fixture
def rendered(rendered_street):
    return CocoDataset(rendered_street, LabelSet.named('street_objects'))
