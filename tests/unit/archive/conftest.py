import pytest

from indexing import Setting


@pytest.fixture
def setting():
    """A counted storage with a series, a cache, and an opener of both."""
    return Setting()
