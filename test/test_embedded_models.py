"""The bundles in models/: whole, described, and as good as their descriptions say."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.layouts import open_dataset
from seg_perception.evaluation.semantic import evaluate
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.instance import InstanceSegmenter
from seg_perception.runtime.semantic import SemanticSegmenter

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = sorted(path.parent for path in (ROOT / 'models').glob('*/model.yaml'))
BUNDLES = [Bundle.load(folder) for folder in FOLDERS]
SEMANTIC = [bundle for bundle in BUNDLES if bundle.task == 'semantic']
LARGEST = 40_000_000


def by_name(bundle):
    return bundle.name


@pytest.mark.parametrize('bundle', BUNDLES, ids=by_name)
def test_it_is_whole_and_says_whose_it_is(bundle):
    assert bundle.name == bundle.root.name
    bundle.verify()
    assert bundle.model_path.stat().st_size < LARGEST
    assert {'code', 'weights', 'data'} <= set(bundle.licence)
    assert bundle.source.startswith('seg-perception train'), 'only what was trained here is here'


@pytest.mark.parametrize('bundle', BUNDLES, ids=by_name)
def test_the_card_says_what_the_description_says(bundle):
    card = (bundle.root / 'README.md').read_text(encoding='utf-8')
    assert bundle.metrics
    written = np.array([float(number) for number in re.findall(r'\d+\.\d', card)])
    for metric in bundle.metrics:
        nearest = np.abs(written - 100 * metric.value).min()
        assert nearest <= 0.051, f'{metric.name} on {metric.dataset}: {metric.value}'
    for config in re.findall(r'config/train/\S+\.yaml', card):
        assert (ROOT / config).is_file()
    for picture in re.findall(r'!\[[^]]+\]\(([^)]+)\)', card):
        assert cv2.imread(str(bundle.root / picture)) is not None
    for heading in ('Terms.', '## Use', '## Training', '## Scores', '## Where it fails'):
        assert heading in card


@pytest.mark.parametrize('bundle', BUNDLES, ids=by_name)
def test_it_runs_where_there_is_only_a_cpu(bundle):
    image = np.random.default_rng(0).integers(0, 255, (120, 200, 3), np.uint8)
    if bundle.task == 'instance':
        found = InstanceSegmenter(bundle, 'cpu').segment(image, 'rgb')
        assert found.image_size == (200, 120)
        return
    found = SemanticSegmenter(bundle, 'cpu').segment(image, 'rgb')
    assert found.image_size == (200, 120)
    assert found.labels.max() < len(bundle.labels)
    # Noise is nothing it knows; a graph whose confidence is stuck would be sure.
    assert found.confidence.std() > 0


@pytest.mark.parametrize('bundle', SEMANTIC, ids=by_name)
def test_it_scores_what_its_description_says(bundle, shared_data):
    recorded = {m.name: m.value for m in bundle.metrics if m.dataset == 'CamVid val, default size'}
    labels = LabelSet.named('camvid')
    assert bundle.labels.names == labels.names
    data = open_dataset('camvid', shared_data / 'camvid', 'val', len(labels))
    found = evaluate(SemanticSegmenter(bundle, 'cpu', threads=1), data)
    # Engines differ in the last bits of a score, int8 ones in more.
    assert found.scores.miou == pytest.approx(recorded['miou'], abs=0.005)
    assert found.per_class['road'] == pytest.approx(recorded['road_iou'], abs=0.005)
