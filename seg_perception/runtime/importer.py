"""Third-party semantic ONNX networks become bundles. Needs the package ``onnx``."""

from __future__ import annotations

import colorsys
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seg_perception.core.errors import BundleError
from seg_perception.core.labels import LabelSet, Role
from seg_perception.core.resources import user_data_dir
from seg_perception.runtime import network_file
from seg_perception.runtime.bundle import Bundle, write_bundle
from seg_perception.runtime.bundle_segmenter import BundleSegmenter, Result
from seg_perception.runtime.raw_network import ImportOptions, RawNetwork, probe_image
from seg_perception.runtime.semantic import SemanticSegmenter
from seg_perception.runtime.wrapping import Postprocessing, wrap_semantic


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
    label_set = read_labels(labels)
    folder = new_folder(name, out_dir, overwrite=overwrite)
    model, input_spec = wrap_file(Path(onnx_path), label_set, options)
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
    sizes = [(height, width)]
    if bundle.input.size is None:
        sizes.append((width, height))
    for (rows, columns), result in run_at(segmenter, sizes):
        if label_stride == 1 and result.size != segmenter.network_size(columns, rows):
            raise BundleError(
                f'the mask is {result.size} for an input of '
                f'{segmenter.network_size(columns, rows)} (width, height): the network rounds its '
                'sides; give the multiple they need (--multiple)'
            )
        if result.labels.min() == 255:
            raise BundleError('the network labels no pixel with a class of the label set')


def run_at(
    segmenter: BundleSegmenter[Result], sizes: Iterable[tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], Result]]:
    """Yield each (height, width) with what a bundle makes of a picture of that size.

    Raises:
        BundleError: the network fails or gives what the bundle does not promise; of another
            size than the default one, the message says so.
    """
    height, width = segmenter.bundle.input.default_size
    for size in sizes:
        try:
            result = segmenter.segment(probe_image(*size), 'rgb')
        except BundleError as error:
            if size == (height, width):
                raise
            raise BundleError(
                f'the network runs at {height}x{width} but not at every size its input allows '
                f'({error}); give the multiple its sides need (--multiple), or fix it (--size)'
            ) from error
        yield size, result


def read_labels(text: LabelSet | str | Path) -> LabelSet:
    """Load a label set by name or from a YAML file; one that is loaded stays as it is."""
    if isinstance(text, LabelSet):
        return text
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


def wrap_file(
    path: Path, labels: LabelSet, options: ImportOptions
) -> tuple[bytes, dict[str, Any]]:
    """Return the deployed graph of a network and model.yaml's key ``input``.

    Args:
        path: the network.
        labels: classes of its channels.
        options: what it wants and gives.
    """
    raw = RawNetwork.open(path, options)
    output_name = network_file.output_of(raw.model, options.output_name)
    post = _postprocessing(raw, raw.run()[output_name], labels)
    wrap_semantic(raw.model, raw.input_name, output_name, raw.pre, post, raw.size, labels.names)
    return network_file.to_bytes(raw.model), raw.input_spec()


def _postprocessing(raw: RawNetwork, scores: np.ndarray, labels: LabelSet) -> Postprocessing:
    options, kind, classes = raw.options, raw.options.output_kind, len(labels)
    found = network_file.describe_output(scores, raw.pre.layout, kind, classes, options.channels)
    network_file.check_values(scores, kind, found)
    stride = network_file.stride_of(found, raw.default_size)
    align = options.offset == 1 if options.align_corners is None else options.align_corners
    target = tuple(side // options.label_stride for side in raw.default_size)
    return Postprocessing(
        kind=kind,
        layout=found.layout,
        rank=scores.ndim,
        channels=found.channels,
        classes=classes,
        stride=stride,
        # At an equal stride above 1 the sizes may differ by the rounding of odd sides only.
        resize=(found.height, found.width) != target
        and (stride == 1 or stride != options.label_stride),
        select=options.channels,
        label_stride=options.label_stride,
        confidence_stride=options.confidence_stride,
        align_corners=align,
    )
