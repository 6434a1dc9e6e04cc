"""Somebody's instance network becomes a bundle, wrapped and tried out."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from seg_perception.core.errors import BundleError
from seg_perception.core.labels import LabelSet
from seg_perception.runtime import importer, schema
from seg_perception.runtime.bundle import Bundle, write_bundle
from seg_perception.runtime.importer import ImportOptions, Origin, probe_image
from seg_perception.runtime.instance import InstanceSegmenter
from seg_perception.runtime.instance_forms import InstanceOptions, check_numbers, find_form


def import_instance(
    onnx_path: str | Path,
    name: str,
    out_dir: str | Path | None = None,
    *,
    labels: LabelSet | str | Path,
    network: ImportOptions | None = None,
    options: InstanceOptions | None = None,
    origin: Origin | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Wrap an instance network into a bundle, run it, and keep it when that worked.

    Args:
        onnx_path: the network: one image input; a table with prototypes, or an output each for
            boxes, scores, labels and masks.
        name, out_dir, labels, origin, overwrite: as in ``import_semantic``.
        network: what it wants (of ImportOptions: colours, normalisation, input, sizes).
        options: what it gives.

    Raises:
        BundleError: the file cannot be read, is no network of this kind, or does not fit the
            options or the labels. Nothing is written then.
        LabelSetError: the label set cannot be read.
    """
    network, options = network or ImportOptions(), options or InstanceOptions()
    origin = (origin or Origin()).of(onnx_path)
    label_set = labels if isinstance(labels, LabelSet) else importer.read_labels(labels)
    folder = importer.new_folder(name, out_dir, overwrite=overwrite)
    with tempfile.TemporaryDirectory(prefix='seg_perception-') as work:
        model, input_spec = wrap_file(Path(onnx_path), label_set, network, options, Path(work))
    output = {key: key for key in ('boxes', 'labels', 'scores', 'masks')}
    description = origin.describe(name, 'instance', label_set, input_spec, output)
    return write_bundle(folder, model, description, overwrite=overwrite, check=try_out)


def try_out(bundle: Bundle) -> None:
    """Run one frame at the default size and one of another shape.

    Raises:
        BundleError: the network fails or gives what the bundle does not promise.
    """
    segmenter = InstanceSegmenter(bundle)
    height, width = bundle.input.default_size
    for rows, columns in ((height, width), (width, height)):
        try:
            segmenter.segment(probe_image(rows, columns), 'rgb')
        except BundleError as error:
            if (rows, columns) == (height, width):
                raise
            raise BundleError(
                f'the network runs at {height}x{width} but not at every size its input allows '
                f'({error}); give the multiple its sides need (--multiple), or fix it (--size)'
            ) from error


def wrap_file(
    path: Path, labels: LabelSet, network: ImportOptions, options: InstanceOptions, work: Path
) -> tuple[bytes, dict[str, Any]]:
    """Return the deployed graph of a network and model.yaml's key ``input``."""
    importer.require_onnx()
    from seg_perception.runtime import instance_wrapping, network_file, wrapping

    model = network_file.read(path)
    source = network_file.input_of(model, network.input_name)
    layout = network_file.layout_of(source, network.layout)
    size = importer.fixed_size(network_file.size_of(source, layout), network)
    default = size or importer.fit_default(network)
    pre = wrapping.Preprocessing(
        layout, source.type.tensor_type.elem_type, network.scale, network.mean, network.std
    )
    network_file.check_preprocessing(pre)
    found = importer.run_bare(model, source.name, pre, default, work)
    form, names = find_form(found, labels, options)
    check_numbers(found, names, options, default)
    detection = _detection(form, labels, options)
    instance_wrapping.wrap_instances(model, source.name, pre, form, detection, size, labels.names)
    spec = {
        'name': wrapping.IMAGE,
        'color': network.color,
        'size': list(size) if size else None,
        'multiple': network.multiple,
        'offset': network.offset,
        'default_size': list(default),
        'resize': _resize(form, network, options, size),
    }
    return network_file.to_bytes(model), spec


def _detection(form: Any, labels: LabelSet, options: InstanceOptions) -> Any:
    from seg_perception.runtime import instance_wrapping as wrapping

    table = isinstance(form, wrapping.TableForm)
    open_table = table and form.kind != 'final'
    many = table or form.many_scores
    suppress = (
        (open_table or (many and not table)) if options.suppress is None else (options.suppress)
    )
    box_format = options.box_format or ('cxcywh' if open_table else 'xyxy')
    schema.choice(box_format, wrapping.BOX_FORMATS, 'box format')
    schema.choice(options.score_kind, wrapping.SCORE_KINDS, 'score kind')
    schema.choice(options.background, wrapping.BACKGROUNDS, 'background')
    schema.choice(options.mask_form, wrapping.MASK_FORMS, 'mask form')
    return wrapping.Detection(
        classes=len(labels),
        box_format=box_format,
        normalised=options.normalised,
        label_offset=options.label_offset,
        score_kind=options.score_kind,
        background=options.background,
        mask_logits=options.mask_logits,
        mask_form=options.mask_form,
        suppress=suppress,
        min_score=options.min_score,
        min_overlap=options.min_overlap,
        max_detections=options.max_detections,
        side=options.side,
    )


def _resize(
    form: Any, network: ImportOptions, options: InstanceOptions, size: tuple[int, int] | None
) -> str:
    from seg_perception.runtime.instance_wrapping import TableForm

    if options.resize is not None:
        return schema.choice(options.resize, schema.RESIZES, 'resize')
    if isinstance(form, TableForm):
        return 'letterbox'
    return 'none' if size is None and network.multiple == 1 and not network.offset else 'stretch'
