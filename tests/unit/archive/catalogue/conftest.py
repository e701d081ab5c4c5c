from pathlib import Path

import pytest

from catalogued import Catalogued


@pytest.fixture
def archive(tmp_path: Path) -> Catalogued:
    """An empty root and an empty cache."""
    return Catalogued.on_disk(tmp_path)
