"""What the outputs of somebody's instance network are, told by their shapes and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from seg_perception.core.errors import BundleError
from seg_perception.core.labels import LabelSet
from seg_perception.runtime import schema

#: Outputs by what they hold.
ROLES = ('table', 'prototypes', 'boxes', 'scores', 'labels', 'masks')
#: What the rows of a table of detections hold before the mask coefficients: a box and a score a
#: class; a box, one that it holds anything, and a score a class; a box, its score and its class.
TABLES = ('scores', 'objectness', 'final')
BOX_FORMATS = ('xyxy', 'yxyx', 'cxcywh', 'xywh')
SCORE_KINDS = ('probabilities', 'sigmoid', 'softmax')
BACKGROUNDS = ('none', 'first', 'last')
MASK_FORMS = ('box', 'image')


@dataclass(frozen=True)
class InstanceOptions:
    """What an instance network gives. None = found out by the outputs' shapes.

    Attributes:
        names: output by role (ROLES): 'table' and 'prototypes' (YOLO for segmentation), or
            'boxes', 'scores', 'labels' and 'masks'.
        table: what the rows of the table hold (TABLES).
        box_format: 'xyxy', 'yxyx', 'cxcywh' or 'xywh'; None = 'cxcywh' in a table whose boxes
            are still to be suppressed, else 'xyxy'.
        normalised: boxes are shares of the input's sides, not pixels.
        label_offset: what the network's class ids are above those of the label set.
        score_kind: 'probabilities', 'sigmoid' or 'softmax' (of logits).
        background: 'none', 'first' or 'last' of the scores is no class.
        mask_logits: the masks still need a sigmoid.
        mask_form: 'box' (a mask covers its box) or 'image' (the whole input).
        suppress: overlapping boxes of a class are still to be dropped; None = where scores come
            for each class.
        min_score: least score of what suppression keeps; min_overlap: above which intersection
            over union it takes two boxes for one.
        max_detections: of all classes together.
        resize: how a picture comes to the network's size; None = 'letterbox' for a table, else
            'stretch', or 'none' where any size will do.
        side: cells of masks cut out of prototypes or whole images.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    table: str | None = None
    box_format: str | None = None
    normalised: bool = False
    label_offset: int = 0
    score_kind: str = 'probabilities'
    background: str = 'none'
    mask_logits: bool = False
    mask_form: str = 'box'
    suppress: bool | None = None
    min_score: float = 0.05
    min_overlap: float = 0.6
    max_detections: int = 100
    resize: str | None = None
    side: int = 56

    def __post_init__(self) -> None:
        unknown = sorted(set(self.names) - set(ROLES))
        if unknown:
            raise BundleError(f'unknown outputs {", ".join(unknown)}; known: {", ".join(ROLES)}')
        for name, known in (
            ('table', TABLES),
            ('box_format', BOX_FORMATS),
            ('score_kind', SCORE_KINDS),
            ('background', BACKGROUNDS),
            ('mask_form', MASK_FORMS),
            ('resize', schema.RESIZES),
        ):
            if getattr(self, name) is not None:
                schema.choice(getattr(self, name), known, name.replace('_', ' '))
        schema.whole(self.max_detections, 'max detections', 1, 1000)
        schema.whole(self.side, 'mask side', 7, 256)
        for name in ('min_score', 'min_overlap'):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise BundleError(f'{name} must be in 0..1, got {getattr(self, name)!r}')


@dataclass(frozen=True)
class TableForm:
    """A network such as YOLO's for segmentation: a table and prototype masks.

    Attributes:
        table: [1, columns, N] or (``rows_first``) [1, N, columns]; ``kind`` as in TABLES.
        prototypes: float [1, coefficients, h, w], over the whole input.
    """

    table: str
    prototypes: str
    kind: str
    rows_first: bool
    coefficients: int


@dataclass(frozen=True)
class SeparateForm:
    """A network with an output for each: boxes, scores, labels and masks, of N objects each.

    Attributes:
        boxes: [N, 4] or [1, N, 4].
        scores: [N] or [1, N], or (``many_scores``) with a last axis of all classes.
        labels: [N] or [1, N]; None = the class of the best score.
        masks: [N, h, w], with a first axis of 1 and an axis of channels if its rank is higher.
        many_scores: the scores have an axis of classes.
        mask_axes: rank of masks without the axis of pictures: 3, or 4 = with channels.
        mask_channels: of masks of rank 4: 1, or one for each class.
        batch_axis: whether boxes, scores, labels and masks have a first axis of 1, in this order.
    """

    boxes: str
    scores: str
    labels: str | None
    masks: str
    many_scores: bool
    mask_axes: int
    mask_channels: int
    batch_axis: tuple[bool, bool, bool, bool]


def find_form(
    found: Mapping[str, np.ndarray], labels: LabelSet, options: InstanceOptions
) -> tuple[TableForm | SeparateForm, dict[str, str]]:
    """Return what a network's outputs are, and which output holds what.

    Args:
        found: the outputs on a test picture.
        labels: the classes.
        options: what is known of them.

    Raises:
        BundleError: they cannot be told apart, or do not fit the options or the classes.
    """
    names = {**_guess(found, labels, options), **options.names}
    for role, output in names.items():
        if output not in found:
            raise BundleError(
                f'the network has no output {output!r} ({role}); it has: {", ".join(found)}'
            )
    if 'table' in names:
        return _table_form(found, names, labels, options), names
    return _separate_form(found, names, labels, options), names


def _guess(
    found: Mapping[str, np.ndarray], labels: LabelSet, options: InstanceOptions
) -> dict[str, str]:
    """Return the outputs by role as far as their shapes tell."""
    if set(options.names) & {'table', 'prototypes'} or _looks_like_table(found, labels):
        planes = [n for n, a in found.items() if a.ndim == 4]
        tables = [n for n, a in found.items() if a.ndim == 3]
        if len(planes) == len(tables) == 1:
            return {'table': tables[0], 'prototypes': planes[0]}
        return {}
    guess: dict[str, str] = {}
    for name, array in found.items():
        integer = np.issubdtype(array.dtype, np.integer)
        if integer and array.ndim <= 2:
            guess.setdefault('labels', name)
        elif array.ndim in (2, 3) and array.shape[-1] == 4:
            guess.setdefault('boxes', name)
        elif array.ndim >= 3 and array.shape[-1] > 4 and array.shape[-2] > 4:
            guess.setdefault('masks', name)
        elif not integer:
            guess.setdefault('scores', name)
    return guess


def _looks_like_table(found: Mapping[str, np.ndarray], labels: LabelSet) -> bool:
    planes = [a for a in found.values() if a.ndim == 4 and a.shape[0] == 1]
    tables = [a for a in found.values() if a.ndim == 3 and a.shape[0] == 1]
    return any(_table_kinds(t, p.shape[1], labels) for t in tables for p in planes)


def _table_kinds(table: np.ndarray, coefficients: int, labels: LabelSet) -> list[tuple[str, bool]]:
    """Return (kind, rows_first) that a table of this shape may be."""
    widths = {
        'scores': 4 + len(labels) + coefficients,
        'objectness': 5 + len(labels) + coefficients,
        'final': 6 + coefficients,
    }
    axes = {False: 1, True: 2}
    return [
        (kind, rows_first)
        for kind, width in widths.items()
        for rows_first, axis in axes.items()
        if table.ndim == 3 and table.shape[axis] == width
    ]


def _table_form(
    found: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    labels: LabelSet,
    options: InstanceOptions,
) -> TableForm:
    if 'prototypes' not in names:
        raise BundleError('a table of detections needs its prototype masks (--prototypes)')
    table, prototypes = found[names['table']], found[names['prototypes']]
    if prototypes.ndim != 4 or prototypes.shape[0] != 1:
        raise BundleError(
            f'the prototypes are {list(prototypes.shape)}, they must be [1, coefficients, h, w]'
        )
    fits = _table_kinds(table, prototypes.shape[1], labels)
    fits = [fit for fit in fits if options.table in (None, fit[0])]
    if len(fits) != 1:
        raise BundleError(
            f'a table {list(table.shape)} with {prototypes.shape[1]} prototypes and '
            f'{len(labels)} classes '
            + (
                'may be of several kinds: say which (--table ...)'
                if fits
                else f'fits none of 4 + {len(labels)} + {prototypes.shape[1]} (scores), one more '
                f'(objectness) or 6 + {prototypes.shape[1]} columns (final): is the label set '
                'the right one?'
            )
        )
    (kind, rows_first) = fits[0]
    return TableForm(names['table'], names['prototypes'], kind, rows_first, prototypes.shape[1])


def _separate_form(
    found: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    labels: LabelSet,
    options: InstanceOptions,
) -> SeparateForm:
    lacking = [role for role in ('boxes', 'scores', 'masks') if role not in names]
    if lacking:
        listed = ', '.join(f'{name} {a.dtype} {list(a.shape)}' for name, a in found.items())
        raise BundleError(
            f'which output holds the {" and ".join(lacking)}? Say it (--boxes, --scores, '
            f'--masks; or --table and --prototypes); the network has: {listed}'
        )
    boxes, scores, masks = (found[names[role]] for role in ('boxes', 'scores', 'masks'))
    if boxes.ndim not in (2, 3) or boxes.shape[-1] != 4:
        raise BundleError(f'the boxes are {list(boxes.shape)}, they must be [N, 4] or [1, N, 4]')
    batch = boxes.ndim == 3
    own = scores.ndim - batch
    many = own == 2
    if own not in (1, 2):
        raise BundleError(f'the scores are {list(scores.shape)}, beside boxes {list(boxes.shape)}')
    wanted = len(labels) + (options.background != 'none')
    if many and scores.shape[-1] != wanted:
        raise BundleError(
            f'the scores have {scores.shape[-1]} columns, the label set {len(labels)} classes '
            f'(background: {options.background}; --background first or last drops one)'
        )
    if not many and 'labels' not in names and len(labels) > 1:
        raise BundleError(
            'one score an object and no class ids: say which output holds them (--label-output)'
        )
    mask_batch = masks.ndim == 5 or (batch and masks.ndim == 4 and masks.shape[0] == 1)
    axes = masks.ndim - mask_batch
    if axes not in (3, 4):
        raise BundleError(f'the masks are {list(masks.shape)}, they must be [N, h, w]')
    channels = masks.shape[-3] if axes == 4 else 1
    if channels not in (1, len(labels), len(labels) + 1):
        raise BundleError(
            f'the masks have {channels} channels: neither one nor one for each of the '
            f'{len(labels)} classes'
        )
    if options.mask_form == 'box' and masks.shape[-1] != masks.shape[-2]:
        raise BundleError(
            f'the masks are {list(masks.shape)}, not square: masks of the whole picture are '
            '--mask-form image'
        )
    label_name = names.get('labels') if not many else None
    label_batch = label_name is not None and found[label_name].ndim == 2
    return SeparateForm(
        boxes=names['boxes'],
        scores=names['scores'],
        labels=label_name,
        masks=names['masks'],
        many_scores=many,
        mask_axes=axes,
        mask_channels=channels,
        batch_axis=(batch, batch, label_batch, mask_batch),
    )


def check_numbers(
    found: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    options: InstanceOptions,
    size: tuple[int, int],
) -> None:
    """Refuse what contradicts the options: logits called probabilities, pixels called shares."""
    for role, name in names.items():
        array = found[name]
        if not array.size:
            continue
        if not np.isfinite(array).all():
            raise BundleError(
                f'the network gives NaN or infinity in {name!r} on a test picture; scale, mean '
                'or std may be wrong'
            )
        low, high = float(array.min()), float(array.max())
        outside = low < -1e-3 or high > 1 + 1e-3
        if role == 'scores' and options.score_kind == 'probabilities' and outside:
            raise BundleError(
                f'the scores lie in {low:.3g}..{high:.3g}: no probabilities. Give their '
                'activation (--score-kind sigmoid or softmax)'
            )
        if role == 'masks' and not options.mask_logits and outside:
            raise BundleError(
                f'the masks lie in {low:.3g}..{high:.3g}: no probabilities. Call them logits '
                '(--mask-logits)'
            )
        if role == 'boxes' and options.normalised and high > 4:
            raise BundleError(
                f'the boxes go up to {high:.3g} for an input of {size[0]}x{size[1]}: pixels, '
                'not shares (leave out --normalised)'
            )
