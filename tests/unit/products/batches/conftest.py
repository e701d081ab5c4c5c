import pytest

from batching import Setting


@pytest.fixture
def setting() -> Setting:
    """A deployment with two series below its root."""
    return Setting()
