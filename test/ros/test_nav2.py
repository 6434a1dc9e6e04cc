"""The shipped costmap configuration against what Nav2 reads: names, thresholds, QoS, frames.

The facts about Nav2 (names and defaults of parameters, how StaticLayer turns a cell into a cost,
what is subscribed with which QoS) are those of nav2_costmap_2d 1.3.13 (Jazzy), 1.4.2 (Kilted) and
1.5.1 (Lyrical), and of semantic_segmentation_layer at its state of April 2026.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)

from seg_perception.core.fusion import GridFusion
from seg_perception.core.grid import GridSpec
from seg_perception.core.labels import LabelSet
from seg_perception.nodes.publishers import LATCHED, STREAM
from seg_perception.ros.parameter_scheme import fields_by_ros_name
from seg_perception.ros.parameters import SegmentationParameters

ROOT = Path(__file__).resolve().parents[2]
NO_INFORMATION, LETHAL, FREE = 255, 254, 0

#: Parameters of the costmap itself that all three versions have.
COSTMAP = {
    'always_send_full_costmap', 'map_vis_z', 'footprint_padding', 'footprint', 'global_frame',
    'height', 'width', 'lethal_cost_threshold', 'observation_sources', 'origin_x', 'origin_y',
    'plugins', 'filters', 'publish_frequency', 'resolution', 'robot_base_frame', 'robot_radius',
    'rolling_window', 'track_unknown_space', 'transform_tolerance', 'initial_transform_timeout',
    'trinary_costmap', 'unknown_cost_value', 'update_frequency', 'use_maximum',
}  # fmt: skip
LAYERS = {
    'nav2_costmap_2d::StaticLayer': {
        'enabled', 'subscribe_to_updates', 'map_subscribe_transient_local',
        'transform_tolerance', 'map_topic', 'footprint_clearing_enabled',
    },
    'nav2_costmap_2d::ObstacleLayer': {
        'enabled', 'footprint_clearing_enabled', 'min_obstacle_height', 'max_obstacle_height',
        'combination_method', 'observation_sources',
    },
    'nav2_costmap_2d::InflationLayer': {
        'enabled', 'inflation_radius', 'cost_scaling_factor', 'inflate_unknown',
        'inflate_around_unknown',
    },
}  # fmt: skip
SEGMENTATION_LAYER = {
    'enabled', 'combination_method', 'observation_sources', 'publish_debug_topics',
    'use_approximate_time_sync',
}  # fmt: skip
SEGMENTATION_SOURCE = {
    'segmentation_topic', 'confidence_topic', 'labels_topic', 'pointcloud_topic',
    'observation_persistence', 'expected_update_rate', 'class_types', 'max_obstacle_distance',
    'min_obstacle_distance', 'tile_map_decay_time', 'visualize_tile_map', 'use_cost_selection',
}  # fmt: skip
CLASS_TYPE = {
    'classes', 'base_cost', 'max_cost', 'mark_confidence', 'samples_to_max_cost',
    'dominant_priority',
}  # fmt: skip
DEFAULTS = {
    'track_unknown_space': False,
    'trinary_costmap': True,
    'unknown_cost_value': 255,
    'lethal_cost_threshold': 100,
    'use_maximum': False,
}


@pytest.fixture(scope='module')
def costmap() -> dict:
    loaded = yaml.safe_load((ROOT / 'config' / 'nav2_costmap.yaml').read_text())
    return loaded['local_costmap']['local_costmap']['ros__parameters']


@pytest.fixture(scope='module')
def document() -> list[dict]:
    """The YAML blocks of docs/nav2.md."""
    text = (ROOT / 'docs' / 'nav2.md').read_text()
    return [yaml.safe_load(block) for block in re.findall(r'```yaml\n(.*?)```', text, re.S)]


def interpret(cell: int, costmap: dict) -> int:
    """The cost StaticLayer makes of a cell of an OccupancyGrid (int8, read as unsigned)."""
    value = cell & 0xFF
    if value == costmap['unknown_cost_value']:
        return NO_INFORMATION if costmap['track_unknown_space'] else FREE
    if value >= min(max(costmap['lethal_cost_threshold'], 0), 100):
        return LETHAL
    if costmap['trinary_costmap']:
        return FREE
    return int(value / costmap['lethal_cost_threshold'] * LETHAL)


def test_every_name_is_one_that_nav2_reads(costmap):
    layers = set(costmap['plugins'])
    assert set(costmap) - layers <= COSTMAP
    for layer in layers:
        values = dict(costmap[layer])
        known = LAYERS[values.pop('plugin')]
        assert set(values) <= known, layer


def test_cells_mean_to_nav2_what_they_mean_here(costmap):
    assert interpret(-1, costmap) == NO_INFORMATION
    assert interpret(0, costmap) == FREE
    assert interpret(100, costmap) == LETHAL
    graded = [interpret(cell, costmap) for cell in range(1, 100)]
    assert min(graded) > FREE, 'a cost became free'
    assert max(graded) < LETHAL, 'a passable cell became lethal'
    assert graded == sorted(graded)


def test_nav2_s_defaults_would_not_do(costmap):
    """What the file is for: without it, unknown and every cost below lethal are free."""
    assert interpret(-1, DEFAULTS) == FREE
    assert interpret(99, DEFAULTS) == FREE
    for name in ('track_unknown_space', 'trinary_costmap'):
        assert interpret(-1, {**costmap, name: DEFAULTS[name]}) == FREE or (
            interpret(50, {**costmap, name: DEFAULTS[name]}) == FREE
        )


def test_frames_sizes_and_topics_fit_the_node_s_defaults(costmap):
    p = SegmentationParameters()
    assert costmap['global_frame'] == p.odometry_frame_id
    assert costmap['robot_base_frame'] == p.grid_frame_id
    assert costmap['resolution'] == p.grid_resolution
    assert costmap['rolling_window'] is True
    static = costmap['drivable_layer']
    assert static['map_topic'] == '/segmentation_node/drivable_grid'
    assert static['map_subscribe_transient_local'] is True
    assert static['subscribe_to_updates'] is False, 'there are no map_updates'
    # Layers write in this order: the grid overwrites, so it comes before what marks and inflates.
    kinds = [costmap[name]['plugin'].rpartition(':')[2] for name in costmap['plugins']]
    assert kinds.index('StaticLayer') < kinds.index('ObstacleLayer')
    assert kinds[-1] == 'InflationLayer'


def qos(reliability: str, durability: str, depth: int) -> QoSProfile:
    return QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy[reliability],
        durability=DurabilityPolicy[durability],
    )


@pytest.mark.parametrize(
    ('offered', 'asked'),
    [
        (LATCHED, qos('RELIABLE', 'TRANSIENT_LOCAL', 1)),  # StaticLayer, Jazzy and Kilted
        (LATCHED, qos('RELIABLE', 'TRANSIENT_LOCAL', 3)),  # StaticLayer, Lyrical
        # Mask and confidence for the segmentation layer, scan and cloud for ObstacleLayer.
        (STREAM, qos('BEST_EFFORT', 'VOLATILE', 50)),
        (LATCHED, qos('RELIABLE', 'TRANSIENT_LOCAL', 5)),  # segmentation layer: label info
    ],
)
def test_what_is_published_matches_what_nav2_asks_for(offered, asked):
    compatibility, reason = qos_check_compatible(offered, asked)
    # A warning: these profiles leave liveliness to the middleware, as Nav2's do.
    assert compatibility != QoSCompatibility.ERROR, reason


def test_the_recommended_grid_covers_the_costmap_at_every_heading(costmap, document):
    """StaticLayer refreshes what the grid covers: what it no longer covers would stay free."""
    grid = next(b['grid'] for b in document if 'grid' in b)
    known = {n.removeprefix('grid.') for n in fields_by_ros_name(SegmentationParameters)}
    assert set(grid) <= known
    p = SegmentationParameters(**{f'grid_{name}': value for name, value in grid.items()})
    fusion = GridFusion(p.grid_spec)
    reach = costmap['width'] / 2
    for yaw in np.linspace(0, math.tau, 17):
        pose = np.eye(4)
        c, s = math.cos(yaw), math.sin(yaw)
        pose[:2, :2] = [[c, -s], [s, c]]
        pose[:2, 3] = 12.34, -56.78
        window: GridSpec = fusion.odom_cells(pose, 0.0)[1]
        # The window follows by whole blocks of cells: it may lag by one.
        lag = 16 * p.grid_resolution
        assert window.x_min + lag <= pose[0, 3] - reach
        assert window.x_max - lag >= pose[0, 3] + reach
        assert window.y_min + lag <= pose[1, 3] - reach
        assert window.y_max - lag >= pose[1, 3] + reach


def test_the_segmentation_layer_s_example_is_one_that_it_reads(document):
    layer = next(b['semantic_layer'] for b in document if 'semantic_layer' in b)
    sources = layer['observation_sources'].split()
    assert set(layer) - {'plugin', *sources} <= SEGMENTATION_LAYER
    classes = set(LabelSet.named('cityscapes').names)
    for source in sources:
        values = layer[source]
        types = values['class_types']
        assert set(values) - set(types) <= SEGMENTATION_SOURCE
        assert values['segmentation_topic'] == '/segmentation_node/mask'
        assert values['confidence_topic'] == '/segmentation_node/confidence'
        assert values['labels_topic'] == '/segmentation_node/label_info'
        for name in types:
            assert set(values[name]) == CLASS_TYPE
            assert set(values[name]['classes']) <= classes, name
            assert 0 <= values[name]['base_cost'] <= values[name]['max_cost'] <= LETHAL
            assert 0 <= values[name]['mark_confidence'] <= 255, 'compared with a mono8 pixel'


def test_every_parameter_of_ours_in_the_document_exists(document):
    names = set(fields_by_ros_name(SegmentationParameters))
    for block in document:
        ours = {key for key in block if key in ('mask_size', 'grid', 'odometry', 'fusion')}
        for key in ours:
            values = block[key]
            inner = {f'{key}.{k}' for k in values} if isinstance(values, dict) else {key}
            assert inner <= names
