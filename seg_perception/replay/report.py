"""The report as one HTML file that needs no network: numbers, charts and pictures within."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from seg_perception.core.errors import SourceError
from seg_perception.replay import charts

#: Figures of the table on top: key, name, what it means, and whether more is better.
FIGURES = (
    ('miou', 'mIoU', 'mean intersection over union of the classes in the truth', True),
    ('drivable_iou', 'drivable IoU', 'all drivable classes as one: what becomes free', True),
    ('obstacle_iou', 'obstacle IoU', 'all obstacle classes as one', True),
    ('boundary_iou', 'boundary IoU', 'the same near boundaries (Cheng et al. 2021)', True),
    ('pixel_accuracy', 'pixel accuracy', 'share of the labelled pixels that are right', True),
    ('free_recall', 'free ground found', 'of the drivable cells in sight, marked free', True),
    ('false_free_rate', 'false free', 'of the cells marked free, not drivable', False),
    ('occupied_recall', 'obstacles found', 'of the places where road ends at a thing', True),
    ('ece', 'calibration error', 'how far confidence is from accuracy (ECE)', False),
    ('agreement', 'agreement', 'share of pixels on which the reference model agrees', True),
    ('reference_miou', 'mIoU to reference', "with the reference's mask as the truth", True),
    ('reference_ece', 'calibration to reference', 'ECE with the reference as the truth', False),
    ('consistency', 'temporal consistency', 'mIoU with the mask before, carried along', True),
    ('flicker', 'flicker', 'share of visible points that change class a frame', False),
)
#: Those that compare between models of different classes.
_ROLE_FIGURES = frozenset(
    ('drivable_iou', 'obstacle_iou', 'free_recall', 'false_free_rate', 'occupied_recall')
)
_KINDS = {
    'worst': 'Worst frames',
    'best': 'Best frames',
    'disagreement': 'Frames worth labelling: most disagreement',
}


def render(report: Mapping[str, Any], pictures: Mapping[str, Path]) -> str:
    """Return the page.

    Args:
        report: of ``summarize``.
        pictures: folder of the pictures by the bag's path.

    Raises:
        SourceError: jinja2 or matplotlib is not installed, or a picture is missing.
    """
    try:
        import jinja2
    except ImportError as error:
        raise SourceError("the report needs 'jinja2': pip install jinja2") from error
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters['percent'] = _percent
    environment.filters['number'] = _plain
    environment.filters['data_uri'] = _data_uri
    template = resources.files('seg_perception.replay').joinpath('report.html.j2')
    models = report['models']
    return environment.from_string(template.read_text(encoding='utf-8')).render(
        report=report,
        models=models,
        figures=[f for f in FIGURES if any(m[f[0]] is not None for m in models)],
        verdict=_verdict(report),
        classes=_classes(models),
        class_scores=_class_scores(models),
        charts=_charts(models) if models else {},
        series_color=charts.series_color,
        kinds=_KINDS,
        role_figures=_ROLE_FIGURES,
        pictures=pictures,
        clock=_clock,
    )


def _verdict(report: Mapping[str, Any]) -> str:
    """One sentence for who reads no further."""
    frames, bags = report['frames'], report['bags']
    text = f'{frames["read"]} frames of {len(bags)} bag{"s" if len(bags) != 1 else ""}'
    parts = []
    for model in report['models']:
        for key, name in (('miou', 'mIoU'), ('agreement', 'agreement'), ('flicker', 'flicker')):
            if model[key] is not None:
                parts.append(f'{model["name"]}: {name} {100 * model[key]:.1f} %')
                break
    return '; '.join([text, *parts])


def _classes(models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a class of any model, with each model's numbers."""
    rows: dict[str, dict[str, Any]] = {}
    for model in models:
        for item in model['classes']:
            row = rows.setdefault(item['name'], {**item, 'models': {}})
            row['models'][model['name']] = item
    return [row for row in rows.values() if _occurs(row)]


def _occurs(row: dict[str, Any]) -> bool:
    return any(item['share'] > 0 or item['truth_pixels'] for item in row['models'].values())


def _class_scores(models: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The columns of the class table: those that any model has a number for."""
    columns = (
        ('iou', 'IoU'),
        ('boundary_iou', 'boundary IoU'),
        ('reference_iou', 'IoU to reference'),
        ('consistency', 'consistency'),
    )
    return [
        (key, name)
        for key, name in columns
        if any(item[key] is not None for m in models for item in m['classes'])
    ]


def _charts(models: list[dict[str, Any]]) -> dict[str, Any]:
    timeline = models[0]['timeline']
    found: dict[str, Any] = {'over_time': [], 'cells': [], 'reliability': [], 'latency': ''}
    if not timeline:
        return found
    x, label = _x_axis(timeline)
    for key, name in (
        ('miou', 'mIoU'),
        ('agreement', 'agreement'),
        ('flicker', 'flicker'),
        ('confidence', 'mean confidence'),
    ):
        series = {m['name']: [row.get(key) for row in m['timeline']] for m in models}
        if any(v is not None for values in series.values() for v in values):
            found['over_time'].append((name, charts.over_time(series, x, name, label)))
    for model in models:
        with_grid = [i for i, row in enumerate(model['timeline']) if 'free' in row]
        if with_grid:
            rows = [model['timeline'][i] for i in with_grid]
            drawn = charts.cells_over_time(rows, [x[i] for i in with_grid], label)
            found['cells'].append((model['name'], drawn))
    for key, title in (('truth', 'accuracy'), ('reference', 'agreement with reference')):
        bins = {m['name']: m['reliability'][key] for m in models}
        if any(bins.values()):
            found['reliability'].append((title, charts.reliability(bins, title)))
    durations = {m['name']: [row['ms']['segment'] for row in m['timeline']] for m in models}
    found['latency'] = charts.histogram(durations, 'segmentation of a frame, ms')
    return found


def _x_axis(timeline: list[dict[str, Any]]) -> tuple[list[float], str]:
    """Seconds within one bag and camera; frame numbers where several follow each other."""
    if len({(row['bag'], row['camera']) for row in timeline}) == 1:
        first = timeline[0]['stamp_ns']
        return [(row['stamp_ns'] - first) / 1e9 for row in timeline], 'seconds'
    return list(map(float, range(len(timeline)))), 'frame'


def _percent(value: float | None, digits: int = 1) -> str:
    return '–' if value is None else f'{100 * value:.{digits}f}'


def _plain(value: float | None, digits: int = 1) -> str:
    return '–' if value is None else f'{value:,.{digits}f}'


def _clock(stamp_ns: int) -> str:
    return f'{stamp_ns // 1_000_000_000}.{stamp_ns % 1_000_000_000 // 1_000_000:03d}'


def _data_uri(name: str, folder: Path) -> str:
    path = folder / name
    kind = 'image/png' if path.suffix == '.png' else 'image/jpeg'
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f'{path}: a picture of the report is missing') from error
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'
