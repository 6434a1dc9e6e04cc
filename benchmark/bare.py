"""The bundle's network called bare, and the same network without our pre- and post-processing."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from seg_perception.runtime.bundle import Bundle
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


def extract_network(bundle: Bundle, path: Path) -> Path:
    """Cut a deployed graph down to float32 NCHW planes in, logits out.

    Walks from `labels` up past ArgMax and Resize to the logits, and from the image down past
    Cast and Transpose to the planes: what a node of the usual making would have exported.
    """
    import onnx
    from onnx.utils import Extractor

    model = onnx.load(bundle.model_path)
    made_by = {name: node for node in model.graph.node for name in node.output}
    name = bundle.output.labels
    while made_by[name].op_type != 'ArgMax':
        name = made_by[name].input[0]
    logits = made_by[name].input[0]
    while made_by[logits].op_type in ('Resize', 'Transpose', 'Slice', 'Identity'):
        logits = made_by[logits].input[0]
    planes = bundle.input.name
    readers = {i: node for node in model.graph.node for i in node.input}
    while readers[planes].op_type in ('Cast', 'Transpose'):
        planes = readers[planes].output[0]
    part = Extractor(onnx.shape_inference.infer_shapes(model)).extract_model([planes], [logits])
    onnx.save(part, path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', required=True)
    parser.add_argument('--provider', default='auto')
    parser.add_argument('--size', default='1280x720', help='of the camera')
    parser.add_argument('--runs', type=int, default=100)
    options = parser.parse_args()
    from seg_perception.runtime.semantic import SemanticSegmenter

    bundle = Bundle.find(options.model)
    width, height = (int(side) for side in options.size.split('x'))
    segmenter = SemanticSegmenter(bundle, options.provider)
    w, h = segmenter.network_size(width, height)
    session = open_session(bundle.model_path, segmenter.provider)
    feed = {bundle.input.name: np.full((1, h, w, 3), 90, np.uint8)}
    times = milliseconds(lambda: session.run(feed), options.runs)
    print(json.dumps({'provider': segmenter.provider, 'size': [h, w], 'ms': times}))


if __name__ == '__main__':
    main()
