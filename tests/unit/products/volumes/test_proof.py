"""Proof: whatever differs from the source is found, before a file stands in its place and years later."""

import json
import shutil
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import volumes
from dicom_series_preview.products.volumes.extents import Slab
from dicom_series_preview.products.volumes.formats.base import (
    Readback,
    UnreadableError,
    VolumeFormat,
    VolumeWriter,
    WriteOptions,
)
from dicom_series_preview.products.volumes.formats.table import format_of_path
from dicom_series_preview.products.volumes.verify import verified
from volumes import EXTENSIONS, Bench, diffusion, ramp, stacked, told_apart

VALUES = ramp(6, 9, 11) * 37 + 5


def difference(path: Path) -> str:
    """What `verify` says of an output; empty where it is as its receipt says."""
    try:
        return verified(format_of_path(path.name)[0], path)
    except UnreadableError as error:
        return str(error) or "unreadable"


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("orient", ["native", "ras"])
def test_what_is_whole_verifies(extension: str, orient: str, tmp_path: Path) -> None:
    """An output as it was made is as its receipt says, also where it was moved since."""
    found = Bench.of(tmp_path / "out", stacked(VALUES)).one(extension, options={"orient": orient})
    assert difference(found.path) == ""
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert difference(tmp_path / "elsewhere" / found.path.name) == ""


def flip(path: Path, rng: Random) -> None:
    """Turn one bit of a file around."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def values_of(path: Path) -> Any:
    """What readers get of a file: values and affine; None where they can read nothing."""
    try:
        data, affine = volumes.read(path)
    except Exception:  # noqa: BLE001 - whatever a reader raises of a broken file
        return None
    return data, affine


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_any_bit(extension: str, tmp_path: Path) -> None:
    """A bit that turns anywhere is found, unless every reader still gets the same values and place."""
    found = Bench.of(tmp_path / "out", stacked(VALUES)).one(extension)
    data, affine = volumes.read(found.path)
    rng = Random(extension)
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path / "out", kept)
    caught = 0
    for _ in range(24):
        path = rng.choice(sorted(one for one in (tmp_path / "out").rglob("*") if one.is_file()))
        flip(path, rng)
        if difference(found.path):
            caught += 1
        else:
            still = values_of(found.path)
            assert still is not None, path
            np.testing.assert_array_equal(still[0], data)
            np.testing.assert_allclose(still[1], affine, atol=1e-3)
        shutil.rmtree(tmp_path / "out")
        shutil.copytree(kept, tmp_path / "out")
    assert caught


def in_json(path: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file."""
    document = json.loads(path.read_text("utf-8"))
    change(document)
    path.write_text(json.dumps(document), "utf-8")


@pytest.mark.parametrize("key", ["min", "max", "mean", "units", "sha256", "slices_sha256", "dtype"])
@pytest.mark.parametrize("extension", [".nii.gz", ".zarr"])
def test_receipt_is_changed(key: str, extension: str, tmp_path: Path) -> None:
    """A receipt that was changed does not pass for one of ours."""
    found = Bench.of(tmp_path, stacked(VALUES)).one(extension)

    def change(document: Any) -> None:
        receipt = (
            document["DicomSeriesPreview"]
            if extension == ".nii.gz"
            else document["attributes"]["dicom_volume"]["receipt"]
        )
        old = receipt["volume"][key]
        receipt["volume"][key] = old + 1 if isinstance(old, (int, float)) else "other"

    in_json(tmp_path / "v.json" if extension == ".nii.gz" else found.path / "zarr.json", change)
    assert difference(found.path)


def test_affine_is_changed(tmp_path: Path) -> None:
    """An affine that was changed in the header, in the attributes or in the archive is found."""
    bench = Bench.of(tmp_path, stacked(VALUES))
    plain = bench.one(".nii").path
    data = bytearray(plain.read_bytes())
    data[280:284] = np.float32(9.5).tobytes()
    plain.write_bytes(data)
    assert difference(plain)
    store = bench.one(".zarr").path

    def change(document: Any) -> None:
        document["attributes"]["dicom_volume"]["affine"][0][3] += 0.5

    in_json(store / "zarr.json", change)
    assert difference(store)
    packed = bench.one(".npz").path
    with np.load(packed) as held:
        arrays = dict(held)
    arrays["affine"][1, 3] += 2
    np.savez(packed, **arrays)
    assert "affine" in difference(packed)


def test_scale_is_added(tmp_path: Path) -> None:
    """A slope that was put into the header changes what readers get: it is found."""
    path = Bench.of(tmp_path, stacked(VALUES)).one(".nii").path
    data = bytearray(path.read_bytes())
    data[112:116] = np.float32(2.0).tobytes()
    path.write_bytes(data)
    assert difference(path)


def test_directions_are_changed(tmp_path: Path) -> None:
    """Directions and b-values beside a NIfTI are part of it: a change or loss is found."""
    elements = [diffusion(0, None), diffusion(1000, (0.0, 0.6, 0.8))]
    bench = Bench.of(tmp_path, told_apart(elements, by_location=False)[1])
    path = bench.one(".nii").path
    assert difference(path) == ""
    text = (tmp_path / "v.bvec").read_text()
    (tmp_path / "v.bvec").write_text(text.replace("0.8", "-0.8"))
    assert "bvec" in difference(path)
    (tmp_path / "v.bvec").unlink()
    assert "bvec" in difference(path)


@pytest.mark.parametrize("extension", [".zarr.zip", ".sqlite", ".zarr"])
def test_a_chunk_is_gone(extension: str, tmp_path: Path) -> None:
    """A chunk that is absent reads as zeros: it is found."""
    path = Bench.of(tmp_path, stacked(VALUES)).one(extension).path
    if extension == ".zarr":
        shutil.rmtree(path / "volume/c")
    elif extension == ".sqlite":
        with sqlite3.connect(path) as database:
            database.execute("DELETE FROM zarr WHERE k LIKE 'volume/c/%'")
        database.close()
    else:
        with zipfile.ZipFile(path) as archive:
            held = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in held.items():
                if not name.startswith("volume/c/"):
                    archive.writestr(name, data)
    assert difference(path)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_cut_off(extension: str, tmp_path: Path) -> None:
    """A file that ends early is found, wherever it ends, and never as an unexpected error."""
    found = Bench.of(tmp_path, stacked(VALUES)).one(extension)
    path = found.path
    if path.is_dir():
        path = max((one for one in path.rglob("*") if one.is_file()), key=lambda one: one.stat().st_size)
    whole = path.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        assert difference(found.path), share


# --- writers that lie


@dataclass
class Lying:
    """A format whose writer changes what it is given.

    Attributes:
        real: The format itself.
        change: Changes a slab's data in place, or returns other data.
    """

    real: VolumeFormat
    change: Callable[[Any], Any]

    def __getattr__(self, name: str) -> Any:
        """Everything else is the format's own."""
        return getattr(self.real, name)

    def writer(self, path: Path, volume: Any, dtype: Any, options: WriteOptions) -> VolumeWriter:
        """A writer between."""
        inner, change = self.real.writer(path, volume, dtype, options), self.change

        class Between:
            def write(self, slab: Slab) -> None:
                inner.write(Slab(slab.extent, change(slab.data.copy())))

            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

        return Between()  # type: ignore[return-value]


def one_value(data: Any) -> Any:
    """One voxel is off by one."""
    data[0, 3, 4, 5] += 1
    return data


def turned(data: Any) -> Any:
    """Every slice is upside down."""
    return np.ascontiguousarray(data[:, :, ::-1])


def swapped(data: Any) -> Any:
    """Two slices have changed places."""
    data[:, [1, 2]] = data[:, [2, 1]]
    return data


@pytest.mark.parametrize("change", [one_value, turned, swapped])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_writer_that_changes_values(extension: str, change: Callable[[Any], Any], tmp_path: Path) -> None:
    """A file that differs from its source in anything never reaches its place, and nothing of it is left."""
    bench = Bench.of(tmp_path / "out", stacked(VALUES))
    found = bench.one(extension, using=lambda real: Lying(real, change))
    assert (found.status, found.refusal.code) == ("refused", "proof_failed")
    assert bench.written() == []


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_failed_proof_keeps_what_was_there(extension: str, tmp_path: Path) -> None:
    """Where a new file fails its proof the older output stays as it was."""
    bench = Bench.of(tmp_path / "out", stacked(VALUES))
    old = bench.one(extension)
    before = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in bench.written()}
    found = bench.one(extension, using=lambda real: Lying(real, one_value), overwrite=True)
    assert found.refusal.code == "proof_failed"
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in bench.written()} == before
    assert difference(old.path) == ""


def test_an_affine_that_is_read_back_otherwise(tmp_path: Path) -> None:
    """A file whose affine a reader gets otherwise fails its proof."""

    @dataclass
    class Shifting(Lying):
        def read(self, path: Path) -> Readback:
            found = self.real.read(path)
            assert found.affine is not None
            return replace(found, affine=found.affine + np.diag([0, 0, 0.01, 0]))

    bench = Bench.of(tmp_path / "out", stacked(VALUES))
    found = bench.one(".nii", using=lambda real: Shifting(real, one_value))
    assert found.refusal.code == "proof_failed"
    assert "affine" in found.refusal.problem


def test_a_reader_that_fails(tmp_path: Path) -> None:
    """A finished file that cannot be read back is no output."""

    def broken(found: Readback) -> Iterator[Slab]:
        yield from ()
        raise UnreadableError(f"chunk of {found.receipt['format']} is broken")

    @dataclass
    class Failing(Lying):
        def read(self, path: Path) -> Readback:
            found = self.real.read(path)
            return replace(found, slabs=broken(found))

    bench = Bench.of(tmp_path / "out", stacked(VALUES))
    found = bench.one(".zarr", using=lambda real: Failing(real, lambda data: data))
    assert found.refusal.code == "proof_failed"
    assert bench.written() == []


@pytest.mark.parametrize("verify", [0, 1, 3, 99, None])
def test_some_slices(verify: int | None, tmp_path: Path) -> None:
    """Of evenly spaced slices the first is one; with 0 none is compared."""
    bench = Bench.of(tmp_path / "out", stacked(VALUES))

    def first(data: Any) -> Any:
        data[0, 0, 0, 0] += 1
        return data

    found = bench.one(".nii", using=lambda real: Lying(real, first), verify=verify)
    assert found.status == ("made" if verify == 0 else "refused")
