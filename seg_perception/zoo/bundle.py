"""An exported graph as a model bundle (docs/bundles.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from seg_perception.core.errors import ExportError, ProviderError
from seg_perception.core.labels import LabelSet
from seg_perception.runtime.bundle import Bundle, write_bundle
from seg_perception.runtime.instance import InstanceSegmenter
from seg_perception.runtime.semantic import SemanticSegmenter
from seg_perception.zoo.export import INPUT, Score

#: Engines of this machine's CPU, each of which must run what is written.
ENGINES = ('cpu', 'openvino')


class ExportedGraph(Protocol):
    """An exported graph of any task; ``precision`` (fp32) and ``size`` (None) may be missing."""

    @property
    def model(self) -> bytes: ...

    @property
    def architecture(self) -> str: ...

    @property
    def multiple(self) -> int: ...

    @property
    def task(self) -> str: ...

    @property
    def output(self) -> Mapping[str, str]: ...


def write(
    folder: Path,
    exported: ExportedGraph,
    *,
    labels: str,
    default_size: tuple[int, int],
    licence: Mapping[str, str],
    source: str,
    overwrite: bool = False,
    check: Callable[[Bundle], None] | None = None,
) -> Bundle:
    """Write a bundle whole or not at all.

    Args:
        folder: of the bundle; its name is the bundle's.
        exported: what ``zoo.export`` gave.
        labels: name of the label set.
        default_size: (height, width) it is best run at; a graph of fixed size has its own.
        licence: terms of 'code', 'weights' and 'data'.
        source: how it was made.
        overwrite: replace a bundle that is there. Its README.md stays; its metrics do not,
            because they were another network's.
        check: called with the bundle before it takes its place; what it raises stops that.

    Raises:
        BundleError: the folder is there already or cannot be written.
    """
    folder = Path(folder)
    card = folder / 'README.md'
    size = getattr(exported, 'size', None)
    description = {
        'name': folder.name,
        'task': exported.task,
        'architecture': exported.architecture,
        'labels': labels,
        'classes': len(LabelSet.named(labels)),
        'input': {
            'name': INPUT,
            'color': 'rgb',
            'size': list(size) if size else None,
            'multiple': exported.multiple,
            'default_size': list(size or default_size),
        },
        'precision': getattr(exported, 'precision', 'fp32'),
        'output': dict(exported.output),
        'licence': dict(licence),
        'source': source,
    }
    return write_bundle(
        folder,
        exported.model,
        description,
        readme=card.read_text(encoding='utf-8') if card.is_file() else '',
        overwrite=overwrite,
        check=check,
    )


def check_engines(
    bundle: Bundle, picture: np.ndarray, score: Score | None = None, least: float = 0.0
) -> None:
    """Run a picture on every engine of the CPU that is installed.

    Args:
        bundle: of a semantic network.
        picture: uint8 [H,W,3] RGB.
        score: for int8, whose arithmetic is each engine's own: mean IoU (0..1) on labelled
            pictures. ONNX Runtime's was scored at the export.
        least: that each engine must reach.

    Raises:
        BundleError: one of them cannot load or run the bundle.
        ExportError: one of them scores less.
    """
    for engine in ENGINES:
        try:
            segmenter = SemanticSegmenter(bundle, engine)
        except ProviderError:
            continue
        predict = partial(_labels, segmenter)
        predict(picture)
        if score is None or engine == 'cpu':
            continue
        if not (found := score(predict)) >= least:
            raise ExportError(
                f'{bundle.name}: on {engine} the mean IoU is {100 * found:.2f}, '
                f'{100 * least:.2f} is the least allowed'
            )


def check_instance_engines(bundle: Bundle, picture: np.ndarray) -> None:
    """As ``check_engines``, for a bundle that finds objects."""
    for engine in ENGINES:
        try:
            finder = InstanceSegmenter(bundle, engine)
        except ProviderError:
            continue
        finder.segment(picture)


def _labels(segmenter: SemanticSegmenter, picture: np.ndarray) -> np.ndarray:
    return segmenter.segment(picture).labels
