import pytest


@pytest.fixture(autouse=True, scope='session')
def one_thread():
    """Networks this small only lose time to threads."""
    torch = pytest.importorskip('torch', reason='needs torch: see requirements/train.txt')
    torch.set_num_threads(1)
