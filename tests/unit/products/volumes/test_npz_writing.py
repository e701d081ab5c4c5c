"""The bytes of an NPZ."""

import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from isal import isal_zlib

from dicom_series_preview.products.volumes.extents import Extent, Slab
from dicom_series_preview.products.volumes.formats.npz import NpzWriter


def test_npz_is_deflated_by_isal(tmp_path: Path) -> None:
    """Values are deflated by ISA-L, which takes a fifth of zlib's time, and zipfile reads them back."""
    shape = (1, 3, 64, 64)
    volume: Any = SimpleNamespace(shape=shape, values=SimpleNamespace(is_colour=False), placement=None)
    data = np.random.default_rng(1).integers(0, 400, shape).astype("<i2")
    path = tmp_path / "a.npz"
    writer = NpzWriter(path, volume, data.dtype)
    writer.write(Slab(Extent((0, 1), (0, 3)), data))
    writer.finish({})
    writer.close()
    expected = BytesIO()
    np.save(expected, data[0].astype("<f4"))
    with zipfile.ZipFile(path) as archive:
        assert archive.read("data.npy") == expected.getvalue()
        info = archive.getinfo("data.npy")
        raw = path.read_bytes()
        begin = info.header_offset + 30 + sum(raw[info.header_offset + at] for at in (26, 28))
    compressor = isal_zlib.compressobj(2, zlib.DEFLATED, -zlib.MAX_WBITS)
    whole = expected.getvalue()
    head = len(whole) - data.size * 4
    assert raw[begin : begin + info.compress_size] == b"".join(
        (compressor.compress(whole[:head]), compressor.compress(whole[head:]), compressor.flush())
    )
