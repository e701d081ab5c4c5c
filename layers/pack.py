"""Pack an extension module, and put a module in its place that unpacks and loads it.

Usage: python pack.py FILE, such as .../deltalake/_internal.abi3.so

AWS Lambda limits what layers unpack to, and this one file would take half of it. Packed it has two fifths of
its size, and takes half a second longer to load.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

UNPACKER = '''"""Unpack the extension module that lies packed beside this one; load it in its place.

It is made by layers/pack.py.
"""

import gzip
import shutil
import sys
import tempfile
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

# Once loaded, the file needs its name no more.
with tempfile.NamedTemporaryFile(suffix=".so") as unpacked:
    with gzip.open(Path(__file__).with_name("{packed}")) as packed:
        shutil.copyfileobj(packed, unpacked, 1 << 20)
    unpacked.flush()
    loader = ExtensionFileLoader(__name__, unpacked.name)
    spec = spec_from_file_location(__name__, unpacked.name, loader=loader)
    loaded = module_from_spec(spec)
    sys.modules[__name__] = loaded
    spec.loader.exec_module(loaded)
'''


def main(module: Path) -> None:
    """Pack a module, and write the one that loads it."""
    packed = module.with_name(f"{module.name}.gz")
    # No time in it: the zip of an unchanged layer stays the same, and is not uploaded.
    packed.write_bytes(gzip.compress(module.read_bytes(), mtime=0))
    module.unlink()
    name = module.name.partition(".")[0]
    module.with_name(f"{name}.py").write_text(UNPACKER.format(packed=packed.name), encoding="utf-8")
    sys.stdout.write(f"packed {module.name}: {packed.stat().st_size / 1e6:.0f} MB\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
