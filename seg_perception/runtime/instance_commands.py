"""The arguments of ``seg-perception models import --task instance``."""

from __future__ import annotations

import argparse
from typing import Any

from seg_perception.core.labels import LabelSet
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.importer import Origin
from seg_perception.runtime.instance_forms import (
    BACKGROUNDS,
    BOX_FORMATS,
    MASK_FORMS,
    SCORE_KINDS,
    TABLES,
    InstanceOptions,
)
from seg_perception.runtime.instance_importer import import_instance
from seg_perception.runtime.raw_network import ImportOptions
from seg_perception.runtime.schema import RESIZES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only instance networks need."""
    group = parser.add_argument_group(
        'instance networks (--task instance)',
        'Outputs are told by their shapes where they are not named: a table and prototypes, as '
        "YOLO's for segmentation, or boxes, scores, labels and masks.",
    )
    add: Any = group.add_argument
    add('--table', metavar='OUTPUT', help='boxes, class scores and mask coefficients in one')
    add('--prototypes', metavar='OUTPUT', help='the masks that the coefficients mix')
    add(
        '--table-kind',
        choices=TABLES,
        help='columns behind the box: scores; one that it is anything, and scores; or (already '
        'suppressed) score and class',
    )
    for name, text in (
        ('boxes', '[N, 4]'),
        ('scores', '[N], or [N, classes]'),
        ('label-output', '[N] class ids'),
        ('masks', '[N, h, w]'),
    ):
        add(f'--{name}', metavar='OUTPUT', help=text)
    add('--box-format', choices=BOX_FORMATS, help='default: as usual for the kind of network')
    add('--normalised', action='store_true', help="boxes are shares of the input's sides")
    add('--label-offset', type=int, default=0, help='1 where the class ids begin at 1')
    add(
        '--score-kind', choices=SCORE_KINDS, default='probabilities', help='activation still to do'
    )
    add('--background', choices=BACKGROUNDS, default='none', help='of the scores')
    add('--mask-form', choices=MASK_FORMS, default='box', help='what a mask covers')
    add('--mask-logits', action='store_true', help='masks still need a sigmoid')
    add('--suppress', action=argparse.BooleanOptionalAction, help='drop overlapping boxes')
    add('--min-score', type=float, default=0.05, help='of what suppression keeps')
    add('--min-overlap', type=float, default=0.6, help='above it two boxes are one')
    add('--max-detections', type=int, default=100)
    add('--mask-side', type=int, default=56, help='cells of masks cut out of whole images')
    add('--resize', choices=RESIZES, help="how a picture comes to the network's size")


def run(
    args: argparse.Namespace, labels: LabelSet, network: ImportOptions, origin: Origin
) -> Bundle:
    """Make a bundle of an instance network."""
    named = {
        'table': args.table,
        'prototypes': args.prototypes,
        'boxes': args.boxes,
        'scores': args.scores,
        'labels': args.label_output,
        'masks': args.masks,
    }
    options = InstanceOptions(
        names={role: name for role, name in named.items() if name is not None},
        table=args.table_kind,
        box_format=args.box_format,
        normalised=args.normalised,
        label_offset=args.label_offset,
        score_kind=args.score_kind,
        background=args.background,
        mask_logits=args.mask_logits,
        mask_form=args.mask_form,
        suppress=args.suppress,
        min_score=args.min_score,
        min_overlap=args.min_overlap,
        max_detections=args.max_detections,
        resize=args.resize,
        side=args.mask_side,
    )
    return import_instance(
        args.onnx,
        args.name,
        args.out,
        labels=labels,
        network=network,
        options=options,
        origin=origin,
        overwrite=args.overwrite,
    )
