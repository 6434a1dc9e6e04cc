"""An exported graph as a model bundle (docs/bundles.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from seg_perception.core.labels import LabelSet
from seg_perception.runtime.bundle import Bundle, write_bundle
from seg_perception.zoo.export import CONFIDENCE, INPUT, LABELS, Exported


def write(
    folder: Path,
    exported: Exported,
    *,
    labels: str,
    default_size: tuple[int, int],
    licence: Mapping[str, str],
    source: str,
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle whole or not at all.

    Args:
        folder: of the bundle; its name is the bundle's.
        exported: graph of a semantic network.
        labels: name of the label set.
        default_size: (height, width) it is best run at.
        licence: terms of 'code', 'weights' and 'data'.
        source: how it was made.
        overwrite: replace a bundle that is there. Its README.md stays; its metrics do not,
            because they were another network's.

    Raises:
        BundleError: the folder is there already or cannot be written.
    """
    folder = Path(folder)
    card = folder / 'README.md'
    description = {
        'name': folder.name,
        'task': 'semantic',
        'architecture': exported.architecture,
        'labels': labels,
        'classes': len(LabelSet.named(labels)),
        'input': {
            'name': INPUT,
            'color': 'rgb',
            'size': None,
            'multiple': exported.multiple,
            'default_size': list(default_size),
        },
        'output': {'labels': LABELS, 'confidence': CONFIDENCE},
        'licence': dict(licence),
        'source': source,
    }
    return write_bundle(
        folder,
        exported.model,
        description,
        readme=card.read_text(encoding='utf-8') if card.is_file() else '',
        overwrite=overwrite,
    )
