import pytest

from ..tiny_encoder import make_tiny_bert


@pytest.fixture(scope="session")
def encoder_dir(tmp_path_factory) -> str:
    """The folder of a tiny transformer with random weights."""
    return make_tiny_bert(tmp_path_factory.mktemp("encoder") / "tiny")
