"""Somebody's instance network becomes a bundle, wrapped and tried out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from seg_perception.core.labels import LabelSet
from seg_perception.runtime import network_file
from seg_perception.runtime.bundle import Bundle, write_bundle
from seg_perception.runtime.importer import Origin, new_folder, read_labels, run_at
from seg_perception.runtime.instance import InstanceSegmenter
from seg_perception.runtime.instance_forms import (
    InstanceOptions,
    SeparateForm,
    TableForm,
    check_numbers,
    find_form,
)
from seg_perception.runtime.instance_wrapping import OUTPUTS, wrap_instances
from seg_perception.runtime.raw_network import ImportOptions, RawNetwork


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
    label_set = read_labels(labels)
    folder = new_folder(name, out_dir, overwrite=overwrite)
    model, input_spec = wrap_file(Path(onnx_path), label_set, network, options)
    output = {key: key for key in OUTPUTS}
    description = origin.describe(name, 'instance', label_set, input_spec, output)
    return write_bundle(folder, model, description, overwrite=overwrite, check=try_out)


def try_out(bundle: Bundle) -> None:
    """Run one frame at the default size and one of another shape.

    Raises:
        BundleError: the network fails or gives what the bundle does not promise.
    """
    height, width = bundle.input.default_size
    for _ in run_at(InstanceSegmenter(bundle), [(height, width), (width, height)]):
        pass


def wrap_file(
    path: Path, labels: LabelSet, network: ImportOptions, options: InstanceOptions
) -> tuple[bytes, dict[str, Any]]:
    """Return the deployed graph of a network and model.yaml's key ``input``."""
    raw = RawNetwork.open(path, network)
    found = raw.run()
    form, names = find_form(found, labels, options)
    check_numbers(found, names, options, raw.default_size)
    options = _settled(options, form, raw)
    wrap_instances(raw.model, raw.input_name, raw.pre, form, options, raw.size, labels.names)
    return network_file.to_bytes(raw.model), {**raw.input_spec(), 'resize': options.resize}


def _settled(
    options: InstanceOptions, form: TableForm | SeparateForm, raw: RawNetwork
) -> InstanceOptions:
    """Fill in what was left to be found out by the outputs' form."""
    if isinstance(form, TableForm):
        suppressed, resize = form.kind == 'final', 'letterbox'
        box_format = 'xyxy' if suppressed else 'cxcywh'
    else:
        suppressed, box_format = not form.many_scores, 'xyxy'
        any_size = raw.size is None and raw.options.multiple == 1 and not raw.options.offset
        resize = 'none' if any_size else 'stretch'
    return dataclasses.replace(
        options,
        box_format=options.box_format or box_format,
        suppress=not suppressed if options.suppress is None else options.suppress,
        resize=options.resize or resize,
    )
