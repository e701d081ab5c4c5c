"""What the tests of failures may use: an environment of their own, and the command line."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
sys.path.insert(0, str(Path(__file__).parents[1] / "functions"))

from commandline import clean_environment, command

__all__ = ["clean_environment", "command"]
