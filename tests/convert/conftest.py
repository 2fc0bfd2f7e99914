import pytest


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch's own files need torch")
