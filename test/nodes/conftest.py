"""What the tests of real nodes share."""

from __future__ import annotations

import pytest
from tiny_bundle import write_tiny_bundle


@pytest.fixture(scope='session')
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of the bundle whose mask anyone can predict."""
    return str(write_tiny_bundle(tmp_path_factory.mktemp('models') / 'tiny'))
