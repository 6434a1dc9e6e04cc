"""``seg-perception export``: a checkpoint to a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_perception.core.arguments import height_width
from seg_perception.core.errors import ExportError, TrainingError

if TYPE_CHECKING:
    import numpy as np

    from seg_perception.core.labels import LabelSet
    from seg_perception.zoo.export import Exported, Form, Predict, Score

#: What has to be installed for training and export.
REQUIREMENTS = 'requirements/train.txt'
#: Pictures an export is compared with torch on, and an int8 one is calibrated and scored on.
COMPARED, CALIBRATED, SCORED = 20, 100, 100


def add_export(subparsers: Any) -> None:
    """Register ``export`` with the main parser's sub-parsers."""
    parser = subparsers.add_parser(
        'export',
        help='make a deployed bundle of a checkpoint or of published weights',
        description='Export the averaged weights (or published ones) as a bundle with pre- and '
        'post-processing in the graph. It is compared with torch on real pictures and refused '
        'if it differs.',
    )
    add = parser.add_argument
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument('--checkpoint', type=Path, help='that seg-perception train wrote')
    which.add_argument(
        '--pretrained',
        metavar='NAME',
        help='published weights, e.g. segformer_b0_cityscapes; an unknown name lists all',
    )
    add('--weights', type=Path, help='of --pretrained: this file or folder instead of a download')
    add('--labels', help='of --pretrained: label set, where --weights has other classes')
    add(
        '--accept-licence',
        action='store_true',
        help='use --pretrained weights that forbid commercial use, for what they allow',
    )
    add('--output', type=Path, help="the bundle's folder; default models/<name of the run>")
    add('--pictures', type=Path, help='folder to compare on; default: the validation pictures')
    add('--overwrite', action='store_true', help='replace a bundle; keeps its README')
    add(
        '--precision',
        choices=('fp32', 'fp16', 'int8'),
        default='fp32',
        help='fp16 is for GPUs, int8 for convolutional networks on CPUs. (OpenVINO runs fp32 '
        'bundles in bf16 by itself where the CPU has it)',
    )
    add('--size', type=height_width, metavar='HxW', help='fix the input; default: any size')
    add(
        '--default-size',
        type=height_width,
        metavar='HxW',
        help="that the bundle is best run at; default: the configuration's",
    )
    add('--calibration', type=Path, metavar='DIR', help='int8: pictures to take the ranges from')
    add(
        '--labelled',
        type=Path,
        metavar='DIR',
        help='int8: images/ and labels/ to compare mean IoU on; default: the validation folder',
    )
    add(
        '--keep-float',
        action='append',
        default=[],
        metavar='PATTERN',
        help="int8: leave nodes whose names fit in float, e.g. '*/encoder/features.0/*'",
    )
    parser.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> int:
    """Export; return 0 when the bundle was written."""
    import_torch()
    from seg_perception.core.labels import LabelSet
    from seg_perception.training.origin import find_origin
    from seg_perception.zoo.bundle import check_engines, write
    from seg_perception.zoo.export import export
    from seg_perception.zoo.registry import architecture

    origin = find_origin(args)
    if architecture(origin.architecture).task == 'instance':
        from seg_perception.training.instance_export import run_instance_export

        return run_instance_export(args, origin)
    labels = LabelSet.named(origin.labels)
    multiple = architecture(origin.architecture).multiple
    default_size = args.size or args.default_size or origin.default_size
    folder = args.pictures or validation_folder(origin.validation, '--pictures') / 'images'
    pictures = read_pictures(folder, multiple, default_size, args.size is not None, COMPARED)
    form = _form(args, origin.validation, labels, multiple, default_size)
    exported = export(
        origin.model, origin.architecture, labels.names, pictures, origin.options, form
    )
    bundle = write(
        args.output or Path('models') / origin.name,
        exported,
        labels=origin.labels,
        default_size=default_size,
        licence={'code': 'Apache-2.0', **origin.licence},
        source=origin.source,
        overwrite=args.overwrite,
        check=lambda made: check_engines(made, pictures[0], form.score, _least(exported)),
    )
    print(_told(bundle.root, exported))
    return 0


def _least(exported: Exported) -> float:
    """Return the mean IoU that an engine must reach with an int8 graph."""
    from seg_perception.zoo.export import MAX_LOSS

    return exported.miou[0] - MAX_LOSS if exported.miou else 0.0


def _told(root: Path, exported: Exported) -> str:
    text = (
        f'{root}: {exported.precision}, {len(exported.model) / 1e6:.1f} MB, labels differ '
        f'from torch in {100 * exported.difference:.3f} % of the pixels of {exported.pictures} '
        'pictures'
    )
    if exported.miou:
        before, after = (100 * miou for miou in exported.miou)
        text += f'; mean IoU {after:.2f}, torch {before:.2f}: {after - before:+.2f} points'
    return text


def _form(
    args: argparse.Namespace,
    validation: str | None,
    labels: LabelSet,
    multiple: int,
    default_size: tuple[int, int],
) -> Form:
    from seg_perception.zoo.export import Form

    if args.precision != 'int8':
        if args.calibration or args.labelled:
            raise ExportError('--calibration and --labelled belong to --precision int8')
        return Form(args.precision, args.size, keep_float=args.keep_float)
    if args.calibration is None:
        raise ExportError(
            'int8 takes the ranges of its activations from real pictures: name a folder of them '
            'with --calibration, e.g. the training pictures (not those it is scored on)'
        )
    labelled = args.labelled or validation_folder(validation, '--labelled')
    return Form(
        'int8',
        args.size,
        read_pictures(args.calibration, multiple, default_size, True, CALIBRATED),
        args.keep_float,
        scorer(labelled, labels, default_size),
    )


def scorer(root: Path, labels: LabelSet, size: tuple[int, int]) -> Score:
    """Return a function that scores a predictor on a labelled folder: mean IoU, 0..1.

    Args:
        root: folder with ``images`` and ``labels`` in the ids of the label set.
        labels: classes of the predictor.
        size: (height, width) that it is shown the pictures at; the mask is enlarged without
            interpolation, as in ``seg-perception evaluate``.

    Raises:
        DatasetError: the folder cannot be used.
    """
    import cv2

    from seg_perception.evaluation.dataset import FolderDataset
    from seg_perception.evaluation.metrics import ConfusionMatrix

    data = FolderDataset(root, len(labels))
    chosen = range(0, len(data), -(-len(data) // SCORED))

    def score(predict: Predict) -> float:
        matrix = ConfusionMatrix(len(labels))
        for index in chosen:
            image, truth = data[index]
            found = predict(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR))
            shape = truth.shape[::-1]
            matrix.update(truth, cv2.resize(found, shape, interpolation=cv2.INTER_NEAREST_EXACT))
        return matrix.compute().miou

    return score


def validation_folder(folder: str | None, option: str) -> Path:
    if folder is None:
        raise ExportError(
            f'there is no validation folder to take pictures from: name a folder with {option}'
        )
    return Path(folder)


def read_pictures(
    folder: Path, multiple: int, size: tuple[int, int], fixed: bool, most: int
) -> list[np.ndarray]:
    """Return pictures of a folder as uint8 [H,W,3] RGB.

    Args:
        folder: of .jpg and .png files, of which ``most`` are taken at even steps.
        multiple: of the sides.
        size: (height, width); where it is not ``fixed``, every other picture keeps its own,
            rounded down to multiples.

    Raises:
        ExportError: the folder is missing, holds no picture, or one cannot be read.
    """
    import cv2

    from seg_perception.evaluation.dataset import PICTURES

    found = sorted(p for p in folder.glob('*') if p.suffix.lower() in PICTURES)
    if not found:
        raise ExportError(f'{folder} is no folder with .jpg or .png pictures')
    pictures = []
    for number, path in enumerate(found[:: -(-len(found) // most)]):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise ExportError(f'{path} cannot be read as a picture')
        height, width = size
        if number % 2 and not fixed:
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
