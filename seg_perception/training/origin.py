"""What an export starts from: a run's checkpoint, or a network that others published."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from seg_perception.core.errors import ExportError
from seg_perception.training.checkpoint import load_network
from seg_perception.zoo import hub


@dataclass(frozen=True)
class Origin:
    """A trained network and what its bundle has to say about it.

    Attributes:
        model: in eval mode, on the CPU.
        name: the bundle's, if no other is asked for.
        architecture: in the registry, built with ``options``.
        labels: name of the label set. default_size: (height, width) in pixels.
        licence: terms of the ``weights`` and the ``data``.
        source: how the weights were made.
        validation: folder with ``images`` and ``labels``, or None.
    """

    model: nn.Module
    name: str
    architecture: str
    labels: str
    default_size: tuple[int, int]
    licence: Mapping[str, str]
    source: str
    options: dict[str, Any] = field(default_factory=dict)
    validation: str | None = None


def find_origin(args: argparse.Namespace) -> Origin:
    """Return what is to be exported.

    Raises:
        ExportError: the checkpoint names no licence, or options that do not go together.
        TrainingError, ModelError: weights that cannot be had or used.
    """
    if args.pretrained:
        return _published(args.pretrained, args.weights, args.labels, args.accept_licence)
    if args.weights or args.labels:
        raise ExportError('--weights and --labels belong to --pretrained')
    model, config, step = load_network(args.checkpoint)
    if set(config.licence) != {'weights', 'data'}:
        raise ExportError(
            f"{args.checkpoint}: its configuration names no 'licence' of weights and data; "
            'a bundle must say on what terms it may be used'
        )
    named = config.validation
    return Origin(
        model,
        config.name,
        config.architecture,
        config.labels,
        config.default_size,
        config.licence,
        f'seg-perception train, configuration {config.name}, seed {config.seed}, '
        f'step {step}, averaged weights',
        config.options,
        _folder(named) if isinstance(named, dict) else named,
    )


def _folder(entry: dict[str, Any]) -> str | None:
    """Return the folder of a validation entry, where it has images/ and labels/."""
    folder = Path(entry['root']) / (entry.get('split') or '')
    return str(folder) if (folder / 'images').is_dir() else None


def _published(name: str, weights: Path | None, labels: str | None, accepted: bool) -> Origin:
    entry = hub.hub_model(name)
    model = hub.load_model(name, weights=weights, labels=labels, accept_licence=accepted)
    return Origin(
        model,
        name,
        entry.architecture,
        labels or entry.labels,
        entry.default_size,
        {'weights': entry.terms.weights, 'data': entry.terms.data},
        f'{entry.source}{" (from a file)" if weights else ""}, converted',
    )
