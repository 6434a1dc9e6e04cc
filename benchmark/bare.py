"""The bundle's network called bare, and the same network without our pre- and post-processing."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from seg_perception.core.errors import BundleError
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.metadata import NETWORK_INPUT_KEY, NETWORK_OUTPUT_KEY
from seg_perception.runtime.session import open_session


def milliseconds(call: Any, runs: int, warm_up: int = 10) -> list[float]:
    """Time `runs` calls, back to back."""
    for _ in range(warm_up):
        call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def extract_network(bundle: Bundle, path: Path) -> None:
    """Cut a deployed graph down to float32 NCHW planes in, logits (or scores) out.

    The exporter and the importer write the names of both tensors into the file's metadata.
    """
    import onnx
    from onnx.utils import Extractor

    model = onnx.load(bundle.model_path)
    names = {entry.key: entry.value for entry in model.metadata_props}
    try:
        ends = names[NETWORK_INPUT_KEY], names[NETWORK_OUTPUT_KEY]
    except KeyError as error:
        raise BundleError(
            f'{bundle.model_path} does not say where its network begins: {error}'
        ) from None
    inferred = onnx.shape_inference.infer_shapes(model)
    onnx.save(Extractor(inferred).extract_model([ends[0]], [ends[1]]), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', required=True)
    parser.add_argument('--provider', default='auto')
    parser.add_argument('--size', default='1280x720', help='of the camera')
    parser.add_argument('--input-size', help="HxW of the network; default: the bundle's")
    parser.add_argument('--runs', type=int, default=100)
    parser.add_argument('--extract', type=Path, help='write the network without our ends here')
    options = parser.parse_args()
    from seg_perception.runtime.semantic import SemanticSegmenter

    bundle = Bundle.find(options.model)
    width, height = (int(side) for side in options.size.split('x'))
    size = (
        tuple(int(side) for side in options.input_size.split('x')) if options.input_size else None
    )
    segmenter = SemanticSegmenter(bundle, options.provider, input_size=size)
    w, h = segmenter.network_size(width, height)
    session = open_session(bundle.model_path, segmenter.provider)
    if options.extract:
        extract_network(bundle, options.extract)
    feed = {bundle.input.name: np.full((1, h, w, 3), 90, np.uint8)}
    times = milliseconds(lambda: session.run(feed), options.runs)
    print(json.dumps({'provider': segmenter.provider, 'size': [h, w], 'ms': times}))


if __name__ == '__main__':
    main()
