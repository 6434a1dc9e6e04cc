"""What the replay's tests share."""

from __future__ import annotations

import pytest
from tiny_bundle import write_tiny_bundle


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory):
    """A model whose mask is the brightest channel."""
    pytest.importorskip('onnx', reason='needs onnx to make a model: make test installs it')
    return write_tiny_bundle(tmp_path_factory.mktemp('models') / 'tiny', size=(48, 80))
