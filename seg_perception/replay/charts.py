"""The report's charts: SVG whose colours are the page's own, so that they suit light and dark.

matplotlib draws with marker colours, which are then replaced by the page's CSS variables.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seg_perception.core.errors import SourceError

#: Colours that matplotlib is given, and what stands in the page in their place.
_TEXT, _LINE = '#010203', '#040506'
_SERIES = ('#a10001', '#a10002', '#a10003', '#a10004', '#a10005', '#a10006')
_CELLS = ('#b10001', '#b10002', '#b10003')
_VARIABLES = {
    _TEXT: 'var(--text)',
    _LINE: 'var(--line)',
    **{color: f'var(--series-{i})' for i, color in enumerate(_SERIES, 1)},
    **dict(
        zip(
            _CELLS,
            ('var(--cell-free)', 'var(--cell-occupied)', 'var(--cell-unknown)'),
            strict=True,
        )
    ),
}
#: A longer series is drawn as the mean and the range of so many pieces.
_MOST_POINTS = 600


def series_color(number: int) -> str:
    """CSS colour of a model, by its number from 0."""
    return f'var(--series-{number % len(_SERIES) + 1})'


def over_time(
    series: Mapping[str, Sequence[float | None]],
    seconds: Sequence[float],
    label: str,
    x_label: str,
) -> str:
    """Draw one value per frame and model, 0..1; frames without it leave a gap.

    Args:
        series: model -> values.
        seconds: x of each frame.
        label, x_label: of the axes.
    """
    figure, axes = _figure((8.6, 2.7))
    x = np.asarray(seconds, float)
    for number, (name, values) in enumerate(series.items()):
        y = np.array([np.nan if v is None else v for v in values], float)
        color = _SERIES[number % len(_SERIES)]
        at, mean, low, high = _thinned(x, y)
        if len(at) < len(x):
            axes.fill_between(at, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(at, mean, color=color, linewidth=1.4, label=name)
    axes.set_ylabel(label)
    axes.set_xlabel(x_label)
    low, high = axes.get_ylim()
    axes.set_ylim(max(-0.02, low), min(1.02, max(high, low + 0.05)))
    if len(series) > 1:
        _legend(axes)
    return _svg(figure, f'over_time_{label}')


def cells_over_time(rows: Sequence[Mapping[str, Any]], seconds: Sequence[float], x: str) -> str:
    """Draw the shares of free, occupied and unknown cells."""
    figure, axes = _figure((8.6, 2.3))
    names = ('free', 'occupied', 'unknown')
    counts = np.array([[row[name] for row in rows] for name in names], float)
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    at = np.asarray(seconds, float)
    if len(at) > _MOST_POINTS:
        keep = np.linspace(0, len(at) - 1, _MOST_POINTS).astype(int)
        at, shares = at[keep], shares[:, keep]
    axes.stackplot(at, shares, labels=names, colors=_CELLS, linewidth=0)
    axes.set_ylim(0, 1)
    axes.set_xlim(at[0], at[-1] if at[-1] > at[0] else at[0] + 1)
    axes.set_ylabel('share of the grid')
    axes.set_xlabel(x)
    _legend(axes)
    return _svg(figure, 'cells')


def reliability(bins: Mapping[str, Sequence[Mapping[str, float]]], label: str) -> str:
    """Draw accuracy over confidence per model, and below how often each confidence occurs."""
    figure, (axes, below) = _figure((4.4, 4.6), rows=2, ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color=_LINE, linewidth=1, linestyle='--')
    for number, (_name, items) in enumerate(bins.items()):
        color = _SERIES[number % len(_SERIES)]
        x = [item['confidence'] for item in items]
        axes.plot(x, [item['accuracy'] for item in items], 'o-', color=color, ms=4, lw=1.4)
        total = sum(item['pixels'] for item in items) or 1
        share = [item['pixels'] / total for item in items]
        width = [(item['high'] - item['low']) * 0.9 / len(bins) for item in items]
        left = [item['low'] + number * w for item, w in zip(items, width, strict=True)]
        below.bar(left, share, width, align='edge', color=color, linewidth=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_ylabel(label)
    axes.tick_params(labelbottom=False)
    below.set_xlim(0, 1)
    below.set_ylabel('pixels')
    below.set_xlabel('confidence')
    return _svg(figure, f'reliability_{label}')


def histogram(series: Mapping[str, Sequence[float]], x_label: str) -> str:
    """Draw how often each duration occurs, per model."""
    figure, axes = _figure((4.4, 2.9))
    everything = np.concatenate([np.asarray(v, float) for v in series.values()])
    high = float(np.percentile(everything, 99.5)) * 1.05 or 1.0
    edges = np.linspace(float(everything.min()) * 0.95, high, 41)
    for number, (name, values) in enumerate(series.items()):
        color = _SERIES[number % len(_SERIES)]
        clipped = np.minimum(np.asarray(values, float), high)
        axes.hist(clipped, edges, color=color, alpha=0.6, linewidth=0, label=name)
    axes.set_xlabel(x_label)
    axes.set_ylabel('frames')
    if len(series) > 1:
        _legend(axes)
    return _svg(figure, f'histogram_{x_label}')


def _thinned(
    x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean, least and greatest of equal pieces, where a series is longer than can be drawn."""
    if len(x) <= _MOST_POINTS:
        return x, y, y, y
    pieces = np.array_split(np.arange(len(x)), _MOST_POINTS)
    found = []
    for piece in pieces:
        part = y[piece]
        part = part[~np.isnan(part)]
        numbers = (part.mean(), part.min(), part.max()) if part.size else (np.nan,) * 3
        found.append((x[piece].mean(), *numbers))
    at, mean, low, high = np.array(found).T
    return at, mean, low, high


def _figure(size: tuple[float, float], rows: int = 1, ratios: Sequence[float] = (1,)) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SourceError("the report needs 'matplotlib': pip install matplotlib") from error
    figure = Figure(figsize=size, layout='constrained')
    figure.patch.set_alpha(0)
    axes = figure.subplots(rows, 1, height_ratios=ratios)
    for part in np.atleast_1d(axes):
        part.patch.set_alpha(0)
        part.grid(color=_LINE, linewidth=0.6, alpha=0.7)
        part.set_axisbelow(True)
        for name, spine in part.spines.items():
            spine.set_visible(name in ('left', 'bottom'))
            spine.set_color(_LINE)
        part.tick_params(colors=_TEXT, which='both', labelsize=9)
        part.xaxis.label.set_color(_TEXT)
        part.yaxis.label.set_color(_TEXT)
    return figure, axes


def _legend(axes: Any) -> None:
    axes.legend(
        loc='lower left',
        bbox_to_anchor=(0, 1),
        ncols=3,
        frameon=False,
        fontsize=9,
        labelcolor=_TEXT,
        borderaxespad=0.2,
    )


def _svg(figure: Any, name: str) -> str:
    """Return the figure as an svg element without size, in the page's colours."""
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': name}):
        figure.savefig(text, format='svg', metadata={'Date': None, 'Creator': None})
    svg = text.getvalue()
    svg = svg[svg.index('<svg') :]
    svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg [^>]*?) height="[^"]*"', r'\1', svg, count=1)
    size = f'style="max-width:{figure.get_figwidth() * 128:.0f}px"'
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*"', rf'\1 {size}', svg, count=1)
    svg = re.sub(r'font: [^;\"]*', 'font-size: 10px', svg)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, variable)
    return svg.strip()
