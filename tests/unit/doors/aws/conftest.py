import pytest

from updating import Pictures, Setting


@pytest.fixture
def setting() -> Setting:
    """A deployment of one root."""
    return Setting()


@pytest.fixture
def pictures(setting: Setting) -> Pictures:
    """Pictures of two of its series."""
    return Pictures(setting)
