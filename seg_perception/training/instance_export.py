"""``seg-perception export`` of networks that find objects."""

from __future__ import annotations

import argparse
from pathlib import Path

from seg_perception.core.errors import ExportError
from seg_perception.core.labels import LabelSet
from seg_perception.training.export_command import read_pictures, validation_folder
from seg_perception.training.origin import Origin
from seg_perception.zoo.bundle import check_instance_engines, write
from seg_perception.zoo.export_instance import export_instances

#: Pictures an export is compared with torch on; each costs a second or two.
COMPARED = 8


def run_instance_export(args: argparse.Namespace, origin: Origin) -> int:
    """Export a Mask R-CNN; return 0 when the bundle was written.

    Raises:
        ExportError: options it has no use for, no pictures, or a graph that differs from torch.
    """
    _check(args, origin)
    labels = LabelSet.named(origin.labels)
    folder = args.pictures or validation_folder(origin.validation, '--pictures') / 'images'
    default_size = args.default_size or origin.default_size
    pictures = read_pictures(folder, 1, default_size, False, COMPARED)
    exported = export_instances(
        origin.model, origin.architecture, labels.names, pictures, origin.options
    )
    bundle = write(
        args.output or Path('models') / origin.name,
        exported,
        labels=origin.labels,
        default_size=default_size,
        licence={'code': 'Apache-2.0', **origin.licence},
        source=origin.source,
        overwrite=args.overwrite,
        check=lambda made: check_instance_engines(made, pictures[0]),
    )
    print(
        f'{bundle.root}: {len(exported.model) / 1e6:.1f} MB, {100 * exported.difference:.2f} % of '
        f'{exported.detections} detections on {exported.pictures} pictures differ from torch'
    )
    return 0


def _check(args: argparse.Namespace, origin: Origin) -> None:
    unfit = [
        f'--{key.replace("_", "-")}'
        for key in ('size', 'calibration', 'labelled', 'keep_float')
        if getattr(args, key)
    ]
    if args.precision != 'fp32':
        unfit.append(f'--precision {args.precision}')
    if unfit:
        raise ExportError(
            f'{origin.architecture} takes pictures of any size, in fp32 (OpenVINO runs it in bf16 '
            f'by itself where the CPU has it): leave out {", ".join(unfit)}'
        )
