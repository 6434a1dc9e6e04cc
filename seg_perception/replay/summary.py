"""From counts to numbers: the report's figures of one bag or of many, and the gate on them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seg_perception.core.errors import ParameterError
from seg_perception.core.grid import GridSpec
from seg_perception.core.labels import LabelSet
from seg_perception.core.panoptic import PanopticQuality
from seg_perception.evaluation.average_precision import ObjectEntries
from seg_perception.evaluation.grid import GridScores
from seg_perception.replay.gallery import Gallery, rank
from seg_perception.replay.tally import Tally

_PERCENTILES = (50, 90, 99)


def summarize(
    results: Sequence[dict[str, Any]],
    failures: Sequence[dict[str, str]] = (),
    pictures: int = 4,
) -> dict[str, Any]:
    """Merge the results of bags into one report.

    Counts are added, then scored: the numbers are those of one replay over all frames,
    whatever process or machine each bag was replayed by.

    Args:
        results: as ``replay_bag`` gave them; sorted here by the bag's path.
        failures: bags that could not be replayed, each with 'bag' and 'error'.
        pictures: frames shown of each kind.

    Returns:
        Plain data, every number of the report in it.
    """
    results = sorted(results, key=lambda result: result['bag'])
    names = list(dict.fromkeys(m['name'] for r in results for m in r['models']))
    return {
        'schema': 1,
        'bags': [_bag_line(result) for result in results],
        'failures': sorted(failures, key=lambda failure: failure['bag']),
        'frames': {
            key: sum(result['frames'][key] for result in results)
            for key in ('stated', 'read', 'undecodable', 'with_truth')
        },
        'interrupted': any(result['interrupted'] for result in results),
        'reference': next((r['reference'] for r in results if r['reference']), None),
        'models': [_model(name, results) for name in names],
        'objects': _objects([r['objects'] for r in results if r['objects']]),
        'gallery': _gallery(results, pictures),
    }


def _bag_line(result: dict[str, Any]) -> dict[str, Any]:
    kept = ('name', 'bag', 'interrupted', 'damage', 'warnings', 'cameras', 'frames')
    line = {key: result[key] for key in (*kept, 'recorded_seconds', 'seconds')}
    line['models'] = {m['name']: _scores(Tally.from_dict(m['tally'])) for m in result['models']}
    line['films'] = {m['name']: m['film'] for m in result['models']}
    return line


def _model(name: str, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    parts = [(r, m) for r in results for m in r['models'] if m['name'] == name]
    tally = Tally.from_dict(parts[0][1]['tally'])
    for _, model in parts[1:]:
        tally.add(Tally.from_dict(model['tally']))
    problems: dict[str, int] = {}
    for _, model in parts:
        for text, count in model['problems'].items():
            problems[text] = problems.get(text, 0) + count
    first = parts[0][1]
    return {
        'name': name,
        **{key: first[key] for key in ('sha256', 'architecture', 'provider')},
        'label_set': tally.labels.name,
        'classes': _classes(tally),
        **_scores(tally),
        'confusion': _confusion(tally.truth.counts),
        'reference_confusion': _confusion(tally.reference.counts),
        'reliability': {
            'truth': tally.calibration.bins(),
            'reference': tally.reference_calibration.bins(),
        },
        'latency_ms': _latency([m['rows'] for _, m in parts]),
        'problems': problems,
        'timeline': [row for r, m in parts for row in _timeline(r, m)],
    }


def _objects(parts: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """What was found of single objects; panoptic quality of things where there is truth."""
    if not parts:
        return None
    names = [item['name'] for item in parts[0]['label_set']['classes']]
    quality = PanopticQuality(len(names) + 1, range(len(names)))
    for part in parts:
        quality.add(part['quality'])
    scored = sum(part['scored'] for part in parts)
    things = quality.compute()['things']
    per_class = quality.per_class()
    found = [sum(part['found'][i] for part in parts) for i in range(len(names))]
    precision = _precision([part['entries'] for part in parts], names)
    times = [value for part in parts for value in part['ms']]
    return {
        **{key: parts[0][key] for key in ('name', 'sha256', 'provider')},
        'frames': sum(part['frames'] for part in parts),
        'scored': scored,
        'found': sum(found),
        **{key: getattr(things, key) if scored else None for key in ('pq', 'sq', 'rq')},
        **precision,
        'ms_p50': round(float(np.percentile(times, 50)), 3) if times else None,
        'ms_p99': round(float(np.percentile(times, 99)), 3) if times else None,
        'classes': [
            {
                'name': name,
                'found': found[i],
                'ap': precision['ap_per_class'].get(name),
                **(dataclasses.asdict(per_class[i]) if scored and i in per_class else {}),
            }
            for i, name in enumerate(names)
            if found[i] or i in per_class
        ],
    }


def _precision(parts: Sequence[dict[str, Any] | None], names: Sequence[str]) -> dict[str, Any]:
    """COCO's AP of masks; None without true objects, or where pycocotools is not installed."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not any(part['truth'] for part in known):
        return {'ap': None, 'ap50': None, 'ap75': None, 'ap_per_class': {}}
    found = ObjectEntries.joined(known).precision('segm', names)
    figures = {key: _number(getattr(found, key)) for key in ('ap', 'ap50', 'ap75')}
    return {**figures, 'ap_per_class': dict(found.per_class)}


def _scores(tally: Tally) -> dict[str, Any]:
    truth, boundary = tally.truth.compute(), tally.boundary.compute()
    reference = tally.reference.compute()
    flicker_iou, consistency, flicker = tally.flicker.compute()
    cells = max(1, sum(tally.cells.values()))
    names = tally.labels.names
    roles = _role_scores(tally)
    return {
        'frames': tally.frames,
        'scored': tally.scored,
        'miou': _number(truth.miou),
        'pixel_accuracy': _number(truth.pixel_accuracy),
        'boundary_iou': _number(boundary.miou),
        'drivable_iou': roles.get('drivable'),
        'obstacle_iou': roles.get('obstacle'),
        'ece': _number(tally.calibration.expected_error()),
        'agreement': _number(reference.pixel_accuracy),
        'reference_miou': _number(reference.miou),
        'reference_ece': _number(tally.reference_calibration.expected_error()),
        'consistency': _number(consistency),
        'flicker': _number(flicker),
        'iou': _by_name(names, truth.iou),
        'boundary': _by_name(names, boundary.iou),
        'class_consistency': _by_name(names, flicker_iou),
        'reference_iou': _by_name(names, reference.iou),
        **_grid_scores(tally),
        'grid': {
            'grids': tally.grids,
            **{name: count / cells for name, count in tally.cells.items()},
        },
    }


def _grid_scores(tally: Tally) -> dict[str, float | None]:
    """What the grid is worth against the truth (see ``evaluation.grid``)."""
    names = ('free_recall', 'false_free_rate', 'occupied_recall')
    if not tally.grid_truth:
        return {**dict.fromkeys(names), 'smear_m2': None}
    scores = GridScores(GridSpec(*tally.grid_spec))
    scores.add(tally.grid_truth)
    figures = scores.compute()
    return {name: _number(getattr(figures, name)) for name in (*names, 'smear_m2')}


def _role_scores(tally: Tally) -> dict[str, float | None]:
    """IoU of all drivable classes as one, and of all obstacles: what the grid cares for."""
    found: dict[str, float | None] = {}
    counts = tally.truth.counts
    for role in ('drivable', 'obstacle'):
        ids = [item.id for item in tally.labels.classes if item.role.value == role]
        hits = int(counts[np.ix_(ids, ids)].sum())
        union = int(counts[ids].sum() + counts[:, ids].sum()) - hits
        found[role] = hits / union if union else None
    return found


def _classes(tally: Tally) -> list[dict[str, Any]]:
    total = max(1, int(tally.pixels.sum()))
    scores = _scores(tally)
    truth = tally.truth.counts.sum(axis=1)
    return [
        {
            'id': item.id,
            'name': item.name,
            'color': list(item.color),
            'role': item.role.value,
            'share': int(tally.pixels[item.id]) / total,
            'truth_pixels': int(truth[item.id]),
            'iou': scores['iou'][item.name],
            'boundary_iou': scores['boundary'][item.name],
            'consistency': scores['class_consistency'][item.name],
            'reference_iou': scores['reference_iou'][item.name],
        }
        for item in tally.labels.classes
    ]


def _confusion(counts: np.ndarray) -> list[list[int]] | None:
    return counts.tolist() if counts.any() else None


def _latency(rows: list[list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    stages: dict[str, list[float]] = {}
    for row in (row for part in rows for row in part):
        for stage, value in row['ms'].items():
            stages.setdefault(stage, []).append(value)
    return {
        stage: {
            **{f'p{p}': round(float(np.percentile(values, p)), 3) for p in _PERCENTILES},
            'mean': round(float(np.mean(values)), 3),
        }
        for stage, values in stages.items()
    }


def _timeline(result: dict[str, Any], model: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {'bag': result['name'], **where, **row}
        for where, row in zip(result['index'], model['rows'], strict=True)
    ]


def _gallery(results: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The most telling frames of all bags."""
    everything = [
        {**item, 'bag': r['bag'], 'name': r['name']} for r in results for item in r['gallery']
    ]
    return [
        item
        for kind in Gallery.KINDS
        for item in sorted((i for i in everything if i['kind'] == kind), key=rank)[:count]
    ]


def _by_name(names: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    return {name: _number(float(value)) for name, value in zip(names, values, strict=True)}


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else float(value)


# ------------------------------------------------------------------------------------- gate

#: Scores of single objects.
OF_OBJECTS = ('ap', 'ap50', 'ap75', 'pq', 'sq', 'rq')
#: Scores of which less is better: the gate holds them from above.
LOW_IS_GOOD = ('flicker', 'ece', 'reference_ece', 'false_free_rate', 'smear_m2')


def parse_gate(text: str) -> dict[str, float]:
    """Read ``miou=0.6,road=0.9``.

    Raises:
        ParameterError: a part is no name=number.
    """
    gate = {}
    for part in filter(None, (part.strip() for part in text.split(','))):
        name, found, value = part.partition('=')
        try:
            gate[name.strip()] = float(value)
        except ValueError:
            found = ''
        if not found or not math.isfinite(gate[name.strip()]):
            raise ParameterError(f"--fail-under '{part}': write name=number, e.g. miou=0.6")
    return gate


def check_gate(gate: Mapping[str, float], labels: LabelSet) -> None:
    """Refuse a gate on what no replay measures, before an hour is spent on it.

    Raises:
        ParameterError: there is no score and no class of that name.
    """
    scores = [k for k, v in _scores(Tally(labels)).items() if not isinstance(v, dict)]
    for name in gate:
        if name not in (*scores, *OF_OBJECTS, *labels.names):
            raise ParameterError(
                f"--fail-under: no score and no class '{name}'; scores are "
                f'{", ".join((*scores, *OF_OBJECTS))}; classes {", ".join(labels.names)}'
            )


def failed(report: dict[str, Any], gate: Mapping[str, float]) -> list[str]:
    """Return what is wrong with a report by a gate; empty when all of it holds.

    A name is a score of the model (miou, boundary_iou, drivable_iou, agreement, consistency,
    flicker, ece, ...), of the objects (ap, pq, ...), or a class, whose IoU is meant. Every model
    must hold; a score that could not be measured does not.
    """
    objects = report['objects'] or {'name': 'objects'}
    wrong = []
    for name, limit in gate.items():
        if name in OF_OBJECTS:
            wrong += _judge(objects['name'], name, objects.get(name), limit)
            continue
        for model in report['models']:
            value = model['iou'][name] if name in model['iou'] else model.get(name)
            wrong += _judge(model['name'], name, value, limit)
    return wrong


def _judge(who: str, name: str, value: float | None, limit: float) -> list[str]:
    if value is None:
        return [f'{who}: {name} was not measured (wanted {limit:g})']
    if name in LOW_IS_GOOD and value > limit:
        return [f'{who}: {name} {value:.4f} is above {limit:g}']
    if name not in LOW_IS_GOOD and value < limit:
        return [f'{who}: {name} {value:.4f} is below {limit:g}']
    return []


def write_report(report: dict[str, Any], folder: Path, pictures: dict[str, Path]) -> list[Path]:
    """Write ``report.json`` and ``report.html``; return their paths.

    Args:
        report: of :func:`summarize`.
        folder: where to.
        pictures: folder of the pictures by the bag's path, as it is in the report.
    """
    from seg_perception.replay.report import render
    from seg_perception.replay.run import write_json

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / 'report.json', folder / 'report.html']
    write_json(paths[0], report)
    paths[1].write_text(render(report, pictures), encoding='utf-8')
    return paths
