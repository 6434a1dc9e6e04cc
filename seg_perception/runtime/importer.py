"""Third-party semantic ONNX networks become bundles. Needs the package ``onnx``."""

from __future__ import annotations

import colorsys
import dataclasses
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seg_perception.core.errors import BundleError, ProviderError
from seg_perception.core.labels import LabelSet, Role
from seg_perception.core.resources import user_data_dir
from seg_perception.runtime import schema
from seg_perception.runtime.bundle import Bundle, write_bundle
from seg_perception.runtime.semantic import SemanticSegmenter
from seg_perception.runtime.session import open_session

KINDS = ('logits', 'softmax', 'labels')
LAYOUTS = ('nchw', 'nhwc')
#: Area of a dynamic network's default size when none is given: 360 x 640 pixels.
_DEFAULT_SIZE = (360, 640)


@dataclass(frozen=True)
class ImportOptions:
    """What a network wants and gives. None = read from the file, or tried out.

    Attributes:
        color: 'rgb' or 'bgr', order of the network's channels.
        scale, mean, std: the network gets ``(pixel * scale - mean) / std``, pixel 0..255; mean
            and std have one value or three, in the network's channel order.
        input_name, output_name: of the tensors; None = the only one.
        layout: of the input, 'nchw' or 'nhwc'.
        size: (height, width) in pixels; None = the network's own, or dynamic.
        multiple, offset: sides that a dynamic network takes: multiple * n + offset.
        default_size: (height, width) a dynamic network is best run at.
        output_kind: 'logits', 'softmax' (probabilities) or 'labels' (class ids).
        channels: indices of the output channels to keep, in the label set's order. The others
            can win no pixel: leaving out a "background" makes its pixels something else.
        label_stride: input pixels per mask pixel, 1 = the mask is as fine as the input.
        confidence_stride: the finest confidence, in input pixels.
        align_corners: how logits coarser than the input are interpolated; None = True for
            sizes of multiple * n + 1, whose grids meet at the corners.
    """

    color: str = 'rgb'
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    input_name: str | None = None
    output_name: str | None = None
    layout: str | None = None
    size: tuple[int, int] | None = None
    multiple: int = 1
    offset: int = 0
    default_size: tuple[int, int] | None = None
    output_kind: str = 'logits'
    channels: tuple[int, ...] = ()
    label_stride: int = 1
    confidence_stride: int = 4
    align_corners: bool | None = None

    def __post_init__(self) -> None:
        schema.choice(self.color, schema.COLORS, 'color')
        schema.choice(self.output_kind, KINDS, 'output kind')
        if self.layout is not None:
            schema.choice(self.layout, LAYOUTS, 'layout')
        schema.whole(self.multiple, 'multiple', 1, 1024)
        schema.whole(self.offset, 'offset', 0, 1024)
        schema.whole(self.label_stride, 'label stride', 1, 64)
        schema.whole(self.confidence_stride, 'confidence stride', 1, 64)
        for name, values in (('mean', self.mean), ('std', self.std)):
            if len(values) not in (1, 3) or not np.all(np.isfinite(values)):
                raise BundleError(f'{name} must be one number or three, got {list(values)}')
        if not np.isfinite(self.scale) or self.scale == 0 or 0 in self.std:
            raise BundleError('scale and std must not be 0: every pixel would look the same')
        if len(set(self.channels)) != len(self.channels) or min(self.channels, default=0) < 0:
            raise BundleError(
                f'channels must be different indices from 0, got {list(self.channels)}'
            )


@dataclass(frozen=True)
class Origin:
    """Where a network comes from; written into model.yaml.

    Attributes:
        licence: terms of 'code', 'weights' and 'data'; what is not known says 'unknown'.
        source: an address or a sentence. architecture: e.g. 'DeepLabV3+ MobileNetV2'.
        metrics: as in model.yaml.
    """

    licence: Mapping[str, str] = field(default_factory=dict)
    source: str = ''
    architecture: str = ''
    metrics: Sequence[Mapping[str, Any]] = ()

    def of(self, onnx_path: str | Path) -> Origin:
        """Return it with the file as source where none is named."""
        source = self.source or f'imported from {Path(onnx_path).name}'
        return dataclasses.replace(self, source=source)

    def describe(
        self,
        name: str,
        task: str,
        labels: LabelSet,
        input_spec: Mapping[str, Any],
        output: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return model.yaml of a network of this origin, without what ``write_bundle`` adds."""
        unknown = {'code': 'unknown', 'weights': 'unknown', 'data': 'unknown'}
        return {
            'name': name,
            'task': task,
            **({'architecture': self.architecture} if self.architecture else {}),
            'labels': labels_entry(labels),
            'classes': len(labels),
            'input': dict(input_spec),
            'output': dict(output),
            'licence': {**unknown, **self.licence},
            'source': self.source,
            **({'metrics': [dict(item) for item in self.metrics]} if self.metrics else {}),
        }


def new_folder(name: str, out_dir: str | Path | None, *, overwrite: bool) -> Path:
    """Return the folder of a bundle to be made.

    Raises:
        BundleError: the name can't name a folder, or it is there already.
    """
    if not name or Path(name).name != name or name.startswith('.'):
        raise BundleError(f'{name!r} cannot name a folder; take letters, digits, - and _')
    folder = (user_data_dir() / 'models' if out_dir is None else Path(out_dir)) / name
    if folder.exists() and not overwrite:
        raise BundleError(f'{folder} is there already; overwrite it (--overwrite) or take another')
    return folder


def import_semantic(
    onnx_path: str | Path,
    name: str,
    out_dir: str | Path | None = None,
    *,
    labels: LabelSet | str | Path,
    options: ImportOptions | None = None,
    origin: Origin | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Wrap a semantic network into a bundle, run it once, and keep it when that worked.

    Args:
        onnx_path: the network: one image input, float or uint8, three channels.
        name: of the bundle's folder.
        out_dir: the folder it is made in; None = the user's models folder.
        labels: the classes of the channels: a set, the name of one, or a YAML file.
        options: what the network wants and gives.
        origin: licence and source.
        overwrite: replace a bundle of that name.

    Raises:
        BundleError: the file cannot be read, is no network of this kind, or does not fit the
            options or the labels. Nothing is written then.
        LabelSetError: the label set cannot be read.
    """
    options, origin = options or ImportOptions(), origin or Origin()
    label_set = labels if isinstance(labels, LabelSet) else read_labels(labels)
    folder = new_folder(name, out_dir, overwrite=overwrite)
    with tempfile.TemporaryDirectory(prefix='seg_perception-') as work:
        model, input_spec = wrap_file(Path(onnx_path), label_set, options, Path(work))
    output = {
        'labels': 'labels',
        'confidence': None if options.output_kind == 'labels' else 'confidence',
    }
    origin = origin.of(onnx_path)
    description = origin.describe(name, 'semantic', label_set, input_spec, output)

    def check(bundle: Bundle) -> None:
        try_out(bundle, options.label_stride)

    return write_bundle(folder, model, description, overwrite=overwrite, check=check)


def try_out(bundle: Bundle, label_stride: int = 1) -> None:
    """Run one frame at the default size and, for a dynamic network, one of another shape.

    Raises:
        BundleError: the network fails or gives what the bundle does not promise.
    """
    segmenter = SemanticSegmenter(bundle)
    height, width = bundle.input.default_size
    frames = [(height, width)]
    if bundle.input.size is None:
        frames.append((width, height))
    for rows, columns in frames:
        try:
            result = segmenter.segment(probe_image(rows, columns), 'rgb')
        except BundleError as error:
            if (rows, columns) == (height, width):
                raise
            raise BundleError(
                f'the network runs at {height}x{width} but not at every size its input allows '
                f'({error}); give the multiple its sides need (--multiple), or fix it (--size)'
            ) from error
        if label_stride == 1 and result.size != segmenter.network_size(columns, rows):
            raise BundleError(
                f'the mask is {result.size} for an input of '
                f'{segmenter.network_size(columns, rows)} (width, height): the network rounds its '
                'sides; give the multiple they need (--multiple)'
            )
        if result.labels.min() == 255:
            raise BundleError('the network labels no pixel with a class of the label set')


def read_labels(text: str | Path) -> LabelSet:
    """Load a label set by name or from a YAML file."""
    if str(text).endswith(('.yaml', '.yml')):
        return LabelSet.load(text)
    return LabelSet.named(str(text))


def labels_of_names(
    names: Sequence[str], drivable: Iterable[str], ignore: Iterable[str] = (), name: str = 'custom'
) -> LabelSet:
    """Make a label set of class names; what is neither drivable nor ignored is an obstacle.

    Raises:
        LabelSetError: a role names a class that is not there, or names occur twice.
    """
    classes = [
        {
            'id': i,
            'name': text,
            # Golden-ratio steps round the colour wheel: neighbours never look alike.
            'color': [round(255 * c) for c in colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.65, 0.85)],
            'role': Role.OBSTACLE.value,
            'cost': 100,
        }
        for i, text in enumerate(names)
    ]
    changes = [f'{item}:drivable:0' for item in drivable]
    changes += [f'{item}:ignore:0' for item in ignore]
    return LabelSet.from_dict({'name': name, 'classes': classes}).with_roles(changes)


def labels_entry(labels: LabelSet) -> Any:
    """The set's name where it is the package's own, unchanged; else the set itself."""
    if labels.name in LabelSet.available() and LabelSet.named(labels.name) == labels:
        return labels.name
    return labels.to_dict()


def probe_image(height: int, width: int) -> np.ndarray:
    """Return a picture with something of everything: uint8 [height, width, 3]."""
    y = np.linspace(0, 1, height)[:, None, None]
    x = np.linspace(0, 1, width)[None, :, None]
    phase = np.arange(3)
    waves = 0.5 + 0.25 * (np.sin(9 * x + phase) + np.cos(7 * y - phase))
    noise = np.random.default_rng(0).random((height, width, 3))
    return (255 * (0.8 * waves + 0.2 * noise)).clip(0, 255).astype(np.uint8)


def wrap_file(
    path: Path, labels: LabelSet, options: ImportOptions, work: Path
) -> tuple[bytes, dict[str, Any]]:
    """Return the deployed graph of a network and model.yaml's key ``input``.

    Args:
        path: the network.
        labels: classes of its channels.
        options: what it wants and gives.
        work: a folder for scratch files.
    """
    require_onnx()
    from seg_perception.runtime import network_file, wrapping

    model = network_file.read(path)
    source = network_file.input_of(model, options.input_name)
    output_name = network_file.output_of(model, options.output_name)
    layout = network_file.layout_of(source, options.layout)
    size = fixed_size(network_file.size_of(source, layout), options)
    default = size or fit_default(options)
    pre = wrapping.Preprocessing(
        layout, source.type.tensor_type.elem_type, options.scale, options.mean, options.std
    )
    network_file.check_preprocessing(pre)
    scores = run_bare(model, source.name, pre, default, work)[output_name]
    post = _postprocessing(scores, layout, default, labels, options)
    wrapping.wrap_semantic(model, source.name, output_name, pre, post, size, labels.names)
    spec = {
        'name': wrapping.IMAGE,
        'color': options.color,
        'size': list(size) if size else None,
        'multiple': options.multiple,
        'offset': options.offset,
        'default_size': list(default),
    }
    return network_file.to_bytes(model), spec


def require_onnx() -> None:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise BundleError(
            f'importing needs the package onnx ({error}); install it: pip install onnx'
        ) from error


def fixed_size(
    declared: tuple[int | None, int | None], options: ImportOptions
) -> tuple[int, int] | None:
    """Return the (height, width) the deployed graph shall have, None = dynamic."""
    for side, wanted in zip(declared, options.size or declared, strict=True):
        if side is not None and side != wanted:
            raise BundleError(
                f'the network takes {_sides(declared)} (height x width) only, the asked size is '
                f'{_sides(options.size or declared)}'
            )
    size = options.size or declared
    if size[0] is None and size[1] is None:
        return None
    if size[0] is None or size[1] is None:
        raise BundleError(
            f'the network fixes one side of its input only ({_sides(size)}); give both (--size)'
        )
    return size[0], size[1]


def _sides(size: tuple[int | None, int | None]) -> str:
    return 'x'.join('?' if side is None else str(side) for side in size)


def fit_default(options: ImportOptions) -> tuple[int, int]:
    spec = schema.InputSpec(
        '', options.color, None, options.multiple, options.offset, _DEFAULT_SIZE
    )
    return options.default_size or spec.fit(*_DEFAULT_SIZE)


def run_bare(
    model: Any, input_name: str, pre: Any, size: tuple[int, int], work: Path
) -> dict[str, np.ndarray]:
    """Run the bare network once: what its outputs really look like."""
    from seg_perception.runtime import network_file

    raw = work / 'network.onnx'
    raw.write_bytes(network_file.to_bytes(model))
    try:
        session = open_session(raw, 'cpu')
    except ProviderError:
        session = open_session(raw, precision='fp32')
    feed = {input_name: network_file.normalise(probe_image(*size), pre)}
    try:
        return session.run(feed)
    except BundleError as error:
        raise BundleError(
            f'the network does not run at {size[0]}x{size[1]} (height x width): {error}. Give the '
            'size it takes (--size, or --multiple and --default-size)'
        ) from error


def _postprocessing(
    scores: np.ndarray,
    layout: str,
    size: tuple[int, int],
    labels: LabelSet,
    options: ImportOptions,
) -> Any:
    from seg_perception.runtime import network_file, wrapping

    kind = options.output_kind
    found = network_file.describe_output(scores, layout, kind, len(labels), options.channels)
    network_file.check_values(scores, kind, found)
    stride = network_file.stride_of(found, size)
    align = options.offset == 1 if options.align_corners is None else options.align_corners
    target = tuple(side // options.label_stride for side in size)
    return wrapping.Postprocessing(
        kind=kind,
        layout=found.layout,
        rank=scores.ndim,
        channels=found.channels,
        classes=len(labels),
        stride=stride,
        # At an equal stride above 1 the sizes may differ by the rounding of odd sides only.
        resize=(found.height, found.width) != target
        and (stride == 1 or stride != options.label_stride),
        select=options.channels,
        label_stride=options.label_stride,
        confidence_stride=options.confidence_stride,
        align_corners=align,
    )
