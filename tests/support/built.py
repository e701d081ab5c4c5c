"""Put the layers that `make build-aws` built on the path, or skip the module of tests that imports this."""

import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
BUILT = PROJECT / ".aws-sam" / "build"

if sys.version_info[:2] != (3, 13):
    pytest.skip("runs in the Lambda runtime's Python, 3.13; make test-aws does that", allow_module_level=True)
if not (BUILT / "PackageLayer" / "python").is_dir():
    pytest.skip("nothing is built; make build-aws builds it", allow_module_level=True)

# Series are made, pictures looked at and expectations computed with the very packages that are deployed.
sys.path += [str(BUILT / name / "python") for name in ("DependenciesLayer", "PackageLayer")]
