import pytest

from bench import Bench


@pytest.fixture
def bench() -> Bench:
    """An API over a small series."""
    return Bench()
