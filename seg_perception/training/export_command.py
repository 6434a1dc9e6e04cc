"""``seg-perception export``: a checkpoint to a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from seg_perception.core.errors import ExportError, TrainingError

#: What has to be installed for training and export.
REQUIREMENTS = 'requirements/train.txt'
#: Pictures an export is compared with torch on.
COMPARED = 20


def add_export(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        'export',
        help='make a deployed bundle of a checkpoint',
        description='Export the averaged weights as a bundle with pre- and post-processing in '
        'the graph. It is compared with torch on real pictures and refused if it differs.',
    )
    parser.add_argument('--checkpoint', type=Path, required=True)
    parser.add_argument(
        '--output', type=Path, help="the bundle's folder; default models/<name of the run>"
    )
    parser.add_argument(
        '--pictures', type=Path, help='folder to compare on; default: the validation pictures'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace a bundle; keeps README')
    parser.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> int:
    """Export; return 0 when the bundle was written."""
    import_torch()
    from seg_perception.core.labels import LabelSet
    from seg_perception.training.trainer import load_network
    from seg_perception.zoo.bundle import write
    from seg_perception.zoo.export import export
    from seg_perception.zoo.registry import architecture

    model, config, step = load_network(args.checkpoint)
    if set(config.licence) != {'weights', 'data'}:
        raise ExportError(
            f"{args.checkpoint}: its configuration names no 'licence' of weights and data; "
            'a bundle must say on what terms it may be used'
        )
    folder = args.pictures or _validation_pictures(config.validation)
    pictures = _pictures(folder, architecture(config.architecture).multiple, config.default_size)
    labels = LabelSet.named(config.labels)
    exported = export(model, config.architecture, labels.names, pictures, config.options)
    output = args.output or Path('models') / config.name
    bundle = write(
        output,
        exported,
        labels=config.labels,
        default_size=config.default_size,
        licence={'code': 'Apache-2.0', **config.licence},
        source=f'seg-perception train, configuration {config.name}, seed {config.seed}, '
        f'step {step}, averaged weights',
        overwrite=args.overwrite,
    )
    print(
        f'{bundle.root}: {len(exported.model) / 1e6:.1f} MB, labels differ from torch in '
        f'{100 * exported.difference:.3f} % of the pixels of {exported.pictures} pictures'
    )
    return 0


def _validation_pictures(validation: str | None) -> Path:
    if validation is None:
        raise ExportError('name a folder of pictures to compare on with --pictures')
    return Path(validation) / 'images'


def _pictures(folder: Path, multiple: int, default_size: tuple[int, int]) -> list:
    """Return pictures of a folder as uint8 RGB, at two sizes: the bundle's and their own."""
    import cv2

    from seg_perception.evaluation.dataset import PICTURES

    found = sorted(p for p in folder.glob('*') if p.suffix.lower() in PICTURES)
    if not found:
        raise ExportError(f'{folder} holds no picture to compare the exported graph on')
    pictures = []
    for number, path in enumerate(found[:: max(len(found) // COMPARED, 1)][:COMPARED]):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise ExportError(f'{path} cannot be read as a picture')
        height, width = default_size
        if number % 2:
            height, width = (max(side // multiple, 1) * multiple for side in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        pictures.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return pictures


def import_torch() -> Any:
    """Import torch, or say what to install."""
    try:
        import albumentations  # noqa: F401
        import segmentation_models_pytorch  # noqa: F401
        import torch
    except ImportError as error:
        raise TrainingError(
            f'training and export need {error.name}: pip install -r {REQUIREMENTS}'
        ) from error
    return torch
