"""Instances of rendered frames as COCO annotations."""

import json

import numpy as np
import pytest

pytest.importorskip('panda3d')

from test_truth_geometry import plain_scene, seen

from seg_perception.core.errors import SourceError
from seg_perception.simulation.coco import MIN_PIXELS, InstanceList, run_lengths
from seg_perception.simulation.dataset import write_dataset
from seg_perception.simulation.scene import Mover


def decoded(segmentation):
    """Return the mask of uncompressed run lengths, as the COCO format defines them."""
    height, width = segmentation['size']
    values = np.arange(len(segmentation['counts'])) % 2 == 1
    flat = np.repeat(values, segmentation['counts'])
    return flat.reshape(width, height).T


@pytest.mark.parametrize(
    ('mask', 'counts'),
    [
        ([[0, 1], [0, 1]], [2, 2]),
        ([[1, 0], [0, 1]], [0, 1, 2, 1]),
        ([[1, 1]], [0, 2]),
        ([[0, 0]], [2]),
    ],
)
def test_run_lengths_go_down_the_columns_and_begin_with_zeros(mask, counts):
    assert run_lengths(np.array(mask)) == counts


def test_a_cyclist_is_a_person_and_a_bicycle_and_vehicles_have_their_kinds():
    movers = (
        Mover('cyclist', 3, 7.0, 2.2, instance=1),
        Mover('pedestrian', 3, 7.0, -2.5, instance=2),
        Mover('vehicle', 4, 12.0, 0.0, instance=3),
        Mover('vehicle', 405, 22.0, 2.2, instance=4),
        Mover('vehicle', 505, 40.0, -2.2, instance=5),
    )
    frame = seen(plain_scene(movers=movers))
    things = InstanceList()
    assert things.add('a.jpg', frame.instances, frame.kinds) == 6
    kinds = {(a['mover'], a['category_id']) for a in things.annotations}
    assert kinds == {(1, 1), (1, 2), (2, 1), (3, 3), (4, 8), (5, 6)}
    bicycle = next(a for a in things.annotations if a['category_id'] == 2)
    rider = next(a for a in things.annotations if a['mover'] == 1 and a['category_id'] == 1)
    assert rider['bbox'][1] < bicycle['bbox'][1], 'the rider sits on the bicycle'
    assert not (frame.kinds[frame.instances == 0]).any()


def test_masks_boxes_and_areas_agree(tmp_path):
    write_dataset(tmp_path, 3, 320, 180, seed=3)
    document = json.loads((tmp_path / 'instances.json').read_text())
    names = {image['file_name'] for image in document['images']}
    assert names == {path.name for path in (tmp_path / 'images').iterdir()}
    assert len(document['annotations']) > 5
    known = {category['id'] for category in document['categories']}
    for thing in document['annotations']:
        mask = decoded(thing['segmentation'])
        assert mask.shape == (180, 320)
        x, y, w, h = thing['bbox']
        assert mask.sum() == thing['area'] == mask[y : y + h, x : x + w].sum()
        assert mask[y].any()
        assert mask[:, x + w - 1].any()
        assert thing['category_id'] in known
        assert thing['iscrowd'] == (thing['area'] < MIN_PIXELS)


def test_an_unwritable_list_is_named(tmp_path):
    with pytest.raises(SourceError, match='cannot write'):
        InstanceList().write(tmp_path / 'nowhere' / 'instances.json')
