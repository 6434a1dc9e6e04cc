"""What an exported graph says about itself, so that a wrong label set is noticed.

The keys lie in the ONNX file's ``metadata_props``; the checksum covers the file, and model.yaml
can be edited: without them a swapped pair of classes would go unseen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from seg_perception.core.errors import BundleError
from seg_perception.runtime.bundle import Bundle

#: JSON list of class names by id (or their number alone).
CLASSES_KEY = 'seg_perception.classes'
#: Names of the tensors between which the network proper lies in a deployed graph.
NETWORK_INPUT_KEY = 'seg_perception.network_input'
NETWORK_OUTPUT_KEY = 'seg_perception.network_output'


def classes_text(names: Sequence[str]) -> str:
    """Return the value of CLASSES_KEY for the given class names."""
    return json.dumps(list(names), ensure_ascii=False)


def check_metadata(bundle: Bundle, metadata: Mapping[str, str]) -> None:
    """Compare the classes the graph was made for with the bundle's label set.

    A graph that says nothing passes.

    Raises:
        BundleError: number or names differ.
    """
    if CLASSES_KEY not in metadata:
        return
    try:
        made_for = json.loads(metadata[CLASSES_KEY])
    except json.JSONDecodeError as error:
        raise BundleError(
            f'{bundle.model_path}: its metadata {CLASSES_KEY} is no JSON ({error})'
        ) from error
    count = made_for if isinstance(made_for, int) else len(made_for)
    if count != len(bundle.labels):
        raise BundleError(
            f'{bundle.model_path} was made for {count} classes, the label set '
            f'{bundle.labels.name!r} of the bundle has {len(bundle.labels)}'
        )
    if not isinstance(made_for, list):
        return
    for i, (made, now) in enumerate(zip(made_for, bundle.labels.names, strict=True)):
        if made != now:
            raise BundleError(
                f'{bundle.model_path}: channel {i} was made for the class {made!r}, the label '
                f'set {bundle.labels.name!r} of the bundle calls it {now!r}'
            )
