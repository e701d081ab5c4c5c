"""Files as nibabel, SimpleITK, NumPy, xarray and zarr read them; one digest for all; the same bytes again."""

import gzip
import json
import sqlite3
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
import xarray
import zarr

import make_dicom as make
import volumes
from dicom_series_preview.products.volumes.formats.base import WriteOptions
from dicom_series_preview.products.volumes.formats.nifti import header_of
from dicom_series_preview.products.volumes.placement import Placement
from dicom_series_preview.products.volumes.values import ValueType
from volumes import EXTENSIONS, Bench, affine_of, diffusion, only, ramp, stacked, told_apart

TILTED = (1, 0, 0, 0, 0.9483236552, 0.3173046564)
GEOMETRIES: dict[str, tuple[Any, Any]] = {
    "axial": (make.AXIAL, (0, 0, 3.0)),
    "coronal": (make.CORONAL, (0, -2.0, 0)),
    "sagittal": (make.SAGITTAL, (1.5, 0, 0)),
    "tilted": (TILTED, (0, 0, 2.5)),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_one_digest(name: str, tmp_path: Path) -> None:
    """Every format of a series, native or canonical, Zarr 2 or 3, has one digest."""
    cosines, step = GEOMETRIES[name]
    values = ramp()
    affine = affine_of(cosines, step=step)
    wanted = volumes.digest(values.transpose(2, 1, 0), affine)
    bench = Bench.of(tmp_path, stacked(values, cosines=cosines, step=step))
    found = {}
    for extension in EXTENSIONS:
        # Of one stem, .nii and .nii.gz would have one sidecar.
        stem = extension.replace(".", "")
        found[extension] = bench.one(extension, f"v{stem}")
        found[f"ras {extension}"] = bench.one(extension, f"r{stem}", options={"orient": "ras"})
    for extension in (".zarr", ".zarr.zip", ".sqlite"):
        found[f"2 {extension}"] = bench.one(extension, "two", write=WriteOptions(zarr_format=2))
    for kind, one in found.items():
        assert one.receipt["volume"]["sha256"] == wanted, kind
        assert volumes.digest(*volumes.read(one.path)) == wanted, kind
        volumes.check(one.path, values, affine)
        if kind.startswith("ras"):
            letters = "".join(nibabel.aff2axcodes(volumes.read(one.path)[1]))
            # Zarr's axes are z, y, x; NPZ's too, and they lead the other way.
            assert letters == {".npz": "IPL"}.get(kind[4:], "RAS" if ".nii" in kind else "SAR")


def test_native_order_is_the_mosaics(tmp_path: Path) -> None:
    """Zarr's and NIfTI's k-th slice is the k-th picture of the series in display order, unturned."""
    values = ramp()
    bench = Bench.of(tmp_path, stacked(values)[::-1])
    plan = bench.plan()
    shown = plan.index.slices(plan.index.stacks[0].tolist())
    by_uid = {f"{make.SERIES_UID}.{i + 1}": plane for i, plane in enumerate(values)}
    wanted = np.stack([by_uid[one.sop_instance_uid] for one in shown])
    array: Any = zarr.open_array(bench.one(".zarr").path / "volume", mode="r")
    np.testing.assert_array_equal(array[:], wanted)
    loaded: Any = nibabel.load(bench.one(".nii").path)
    np.testing.assert_array_equal(np.asanyarray(loaded.dataobj), wanted.transpose(2, 1, 0))


def test_npz_leads_down_back_and_left(tmp_path: Path) -> None:
    """NPZ's `data` is float32 [Z, Y, X] from the head down, from front to back, from right to left."""
    for cosines, step in GEOMETRIES.values():
        found = Bench.of(tmp_path, stacked(ramp(), cosines=cosines, step=step)).one(".npz", f"{step}")
        with np.load(found.path, allow_pickle=False) as held:
            assert held["data"].dtype == np.dtype("<f4")
            assert nibabel.aff2axcodes(held["affine"]) == ("I", "P", "L")
            np.testing.assert_allclose(held["spacing"], np.linalg.norm(held["affine"][:3, :3], axis=0))
            assert json.loads(str(held["info"]))["volume"]["sha256"]


# --- NIfTI


def corners(size: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """The indices of the corners of a volume."""
    return [(i, j, k) for i in (0, size[0] - 1) for j in (0, size[1] - 1) for k in (0, size[2] - 1)]


@pytest.mark.parametrize("name", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_simple_itk(name: str, extension: str, tmp_path: Path) -> None:
    """SimpleITK reads the same voxels, and its physical corners are the patient's."""
    cosines, step = GEOMETRIES[name]
    values = ramp()
    found = Bench.of(tmp_path, stacked(values, cosines=cosines, step=step)).one(extension)
    read = SimpleITK.ReadImage(str(found.path))
    data, affine = volumes.read(found.path)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(read), data.transpose(2, 1, 0))
    for index in corners(data.shape):
        in_ras = (affine @ [*index, 1])[:3]
        place = np.array(read.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        np.testing.assert_allclose(place, in_ras, atol=1e-3)


def test_simple_itk_and_a_shear(tmp_path: Path) -> None:
    """A shear stands in sform alone: SimpleITK, which has none, refuses the file or keeps its voxels."""
    cosines, step = GEOMETRIES["tilted"]
    found = Bench.of(tmp_path, stacked(ramp(), cosines=cosines, step=step)).one(".nii")
    header: Any = nibabel.load(found.path).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)
    np.testing.assert_allclose(header.get_sform(), volumes.read(found.path)[1])
    try:
        read = SimpleITK.ReadImage(str(found.path))
    except RuntimeError:
        return
    data, _ = volumes.read(found.path)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(read), data.transpose(2, 1, 0))


def test_nifti_header(tmp_path: Path) -> None:
    """Both forms say the same with code 1; units, zooms and the maker stand in the header."""
    arrays, sources = told_apart([{"TemporalPositionIdentifier": i} for i in (1, 2)], by_location=True)
    for source in sources:
        source.RepetitionTime = 2500.0
    found = Bench.of(tmp_path, sources).one(".nii.gz")
    header: Any = nibabel.load(found.path).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)
    np.testing.assert_allclose(header.get_zooms(), (0.6, 0.8, 3.0, 2.5), rtol=1e-6)
    assert header.get_xyzt_units() == ("mm", "sec")
    assert bytes(header["descrip"]).startswith(b"dicom-series-preview ")
    assert len(arrays) == 2
    packed = found.path.read_bytes()
    # No name and no time in the gzip header.
    assert packed[3] & 0b1000 == 0
    assert packed[4:8] == bytes(4)
    sidecar = json.loads((tmp_path / "v.json").read_text("utf-8"))
    assert sidecar["RepetitionTime"] == 2.5
    assert sidecar["DicomSeriesPreview"] == found.receipt


@pytest.mark.parametrize(("columns", "kind"), [(32767, "n+1"), (32768, "n+2")])
def test_nifti_2_beyond_32767(columns: int, kind: str) -> None:
    """An axis that NIfTI-1's 16 bits cannot count makes it NIfTI-2, and no wrapped dimension."""
    volume: Any = SimpleNamespace(
        placement=Placement(affine_of(), 0.0, 0.0),
        shape=(1, 2, 3, columns),
        values=ValueType(("<i2",)),
        repetition_time_s=None,
    )
    raw = header_of(volume, np.dtype("<i2"))
    header = (nibabel.Nifti1Header if kind == "n+1" else nibabel.Nifti2Header)(raw)
    assert tuple(header.get_data_shape()) == (columns, 3, 2)
    assert bytes(header["magic"]).rstrip(b"\0\r\n\x1a").decode() == kind
    assert int(header["vox_offset"]) == len(raw) + 4


# --- Zarr


def attributes(path: Path) -> dict[str, Any]:
    """The attributes of a group."""
    store = volumes.store_of(path)
    found = dict(zarr.open_group(store, mode="r").attrs)
    store.close()
    return found


def check_ome(found: dict[str, Any], shape: tuple[int, ...], names: list[str]) -> dict[str, Any]:
    """Assert the rules of OME-Zarr 0.5 for multiscales; return the one multiscale."""
    (multiscale,) = found["multiscales"]
    axes = multiscale["axes"]
    assert [axis["name"] for axis in axes] == names
    assert 2 <= len(axes) <= 5
    kinds = [axis.get("type") for axis in axes]
    # Time first, then channels, then two or three of space.
    assert kinds == sorted(kinds, key=["time", "channel", "space"].index)
    assert kinds.count("space") == 3
    assert {axis["unit"] for axis in axes if axis["type"] == "space"} == {"millimeter"}
    (one,) = multiscale["datasets"]
    assert one["path"] == "volume"
    (scale,) = one["coordinateTransformations"]
    assert scale["type"] == "scale"
    assert len(scale["scale"]) == len(shape) == len(axes)
    assert all(number > 0 for number in scale["scale"])
    assert {"name", "type", "metadata"} <= set(multiscale)
    return multiscale


def test_ome_zarr(tmp_path: Path) -> None:
    """The group keeps the rules of OME-Zarr 0.5, with anatomical axes and millimetres."""
    found = Bench.of(tmp_path, stacked(ramp())).one(".zarr")
    document = json.loads((found.path / "zarr.json").read_text())
    assert document["zarr_format"] == 3
    assert "consolidated_metadata" not in document or not document["consolidated_metadata"]
    ome = document["attributes"]["ome"]
    assert ome["version"] == "0.5"
    multiscale = check_ome(ome, (4, 5, 7), ["z", "y", "x"])
    assert multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] == [3.0, 0.8, 0.6]
    words = [axis["orientation"]["value"] for axis in multiscale["axes"]]
    own = document["attributes"]["dicom_volume"]
    down_or_up = "inferior-to-superior" if own["affine"][2][0] > 0 else "superior-to-inferior"
    assert words == [down_or_up, "anterior-to-posterior", "right-to-left"]
    assert own["space"] == "right-anterior-superior"
    assert own["FrameOfReferenceUID"] == f"{make.SERIES_UID}.77"


def test_ome_zarr_2(tmp_path: Path) -> None:
    """A Zarr 2 group keeps OME-Zarr 0.4's rules, the separator `/` and the seed's chunks."""
    values = ramp(70, 3, 300)
    found = Bench.of(tmp_path, stacked(values)).one(".zarr", write=WriteOptions(zarr_format=2))
    held = json.loads((found.path / ".zattrs").read_text())
    assert held["multiscales"][0]["version"] == "0.4"
    check_ome(held, values.shape, ["z", "y", "x"])
    array = json.loads((found.path / "volume/.zarray").read_text())
    assert array["dimension_separator"] == "/"
    assert array["chunks"] == [32, 3, 256]
    assert array["compressor"]["id"] == "blosc"
    assert (array["compressor"]["cname"], array["compressor"]["shuffle"]) == ("zstd", 2)
    volumes.check(found.path, values, affine_of())


def test_zarr_3_codecs(tmp_path: Path) -> None:
    """Shards hold chunks of 32, 128, 128, compressed by blosc's zstd with bitshuffle, not by plain zstd."""
    values = ramp(70, 130, 140)
    found = Bench.of(tmp_path, stacked(values)).one(".zarr")
    array = json.loads((found.path / "volume/zarr.json").read_text())
    (sharding,) = array["codecs"]
    assert sharding["name"] == "sharding_indexed"
    assert sharding["configuration"]["chunk_shape"] == [32, 128, 128]
    blosc = sharding["configuration"]["codecs"][-1]
    assert blosc["name"] == "blosc"
    assert (blosc["configuration"]["cname"], blosc["configuration"]["shuffle"]) == ("zstd", "bitshuffle")
    assert blosc["configuration"]["typesize"] == 2
    assert array["dimension_names"] == ["z", "y", "x"]
    assert array["chunk_grid"]["configuration"]["chunk_shape"] == [64, 256, 256]
    assert len(list((found.path / "volume/c").rglob("*/*/*"))) == 2
    volumes.check(found.path, values, affine_of())


@pytest.mark.parametrize("extension", [".zarr", ".zarr.zip", ".sqlite"])
def test_time_in_zarr(extension: str, tmp_path: Path) -> None:
    """Of four dimensions the first is time, its scale the seconds from volume to volume."""
    elements = [{"AcquisitionTime": f"1010{second}"} for second in (10, 12, 14)]
    arrays, sources = told_apart(elements, by_location=True)
    found = Bench.of(tmp_path, sources).one(extension)
    held = attributes(found.path)
    multiscale = check_ome(held["ome"], (3, 4, 5, 7), ["t", "z", "y", "x"])
    assert multiscale["axes"][0]["unit"] == "second"
    assert multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] == [2.0, 3.0, 0.8, 0.6]
    assert held["dicom_volume"]["fourth_axis"]["values"] == [0.0, 2.0, 4.0]
    volumes.check(found.path, np.stack(arrays), affine_of())


def test_diffusion_in_zarr(tmp_path: Path) -> None:
    """A diffusion axis has b-values and directions in RAS, and no invented seconds."""
    elements = [diffusion(0, None), diffusion(700, (0.0, 0.6, 0.8))]
    found = Bench.of(tmp_path, told_apart(elements, by_location=False)[1]).one(".zarr")
    held = attributes(found.path)
    axis = held["dicom_volume"]["fourth_axis"]
    assert axis["b_values_s_per_mm2"] == [0.0, 700.0]
    assert axis["directions_ras"][0] is None
    assert axis["directions_ras"][1] == pytest.approx([0.0, -0.6, 0.8])
    assert "unit" not in held["ome"]["multiscales"][0]["axes"][0]


@pytest.mark.parametrize("version", [2, 3])
def test_xarray(version: int, tmp_path: Path) -> None:
    """Xarray opens a store of either version by its names of axes, and scales stored values by itself."""
    values = ramp()
    bench = Bench.of(tmp_path, stacked(values, RescaleSlope=0.5, RescaleIntercept=-100))
    write = WriteOptions(zarr_format=version)
    found = bench.one(".zarr", options={"values": "stored"}, write=write)
    with xarray.open_zarr(found.path, consolidated=False) as opened:
        array = opened["volume"]
        assert array.dims == ("z", "y", "x")
        held: Any = zarr.open_array(found.path / "volume", mode="r")
        np.testing.assert_array_equal(array.values, held[:] * 0.5 - 100)


def test_empty_chunks_of_zarr_2(tmp_path: Path) -> None:
    """Zarr 2 has every chunk, those of zeros alone too: it names no value for chunks that are absent."""
    values = np.zeros((40, 6, 9), "<u2")
    values[0] = 5
    found = Bench.of(tmp_path, stacked(values)).one(".zarr", write=WriteOptions(zarr_format=2))
    assert json.loads((found.path / "volume/.zarray").read_text())["fill_value"] is None
    assert len(list((found.path / "volume").rglob("0"))) >= 3
    volumes.check(found.path, values, affine_of())


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_nifti_header_in_zarr(geometry: str, tmp_path: Path) -> None:
    """The array `nifti` is the header of the NIfTI of the same series, so that the store is a NIfTI-Zarr."""
    cosines, step = GEOMETRIES[geometry]
    bench = Bench.of(tmp_path, stacked(ramp(), cosines=cosines, step=step))
    raw = zarr.open_array(bench.one(".zarr").path / "nifti", mode="r")[:]
    assert bench.one(".nii").path.read_bytes().startswith(bytes(np.asarray(raw)))


def test_chunks_as_asked_for(tmp_path: Path) -> None:
    """Chunks can be chosen; shards stay whole multiples, and no value changes."""
    values = ramp(9, 20, 30)
    for number, chunks in enumerate([(4, 7, 9), (1, 20, 30), (64, 512, 512), (5, 10, 1)]):
        for version in (2, 3):
            write = WriteOptions(chunks=chunks, zarr_format=version, clevel=1)
            found = Bench.of(tmp_path, stacked(values)).one(".zarr", f"{number}-{version}", write=write)
            volumes.check(found.path, values, affine_of())


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_same_bytes_again(extension: str, tmp_path: Path) -> None:
    """Two runs write the same bytes, archives included: nothing of a clock or of threads is in them."""
    bench = Bench.of(tmp_path, stacked(ramp(70, 16, 24)))

    def content(stem: str) -> dict[str, bytes]:
        bench.one(extension, f"{stem}/v")
        folder = tmp_path / stem
        return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}

    assert content("a") == content("b")


def test_zip_is_in_the_order_of_its_standard(tmp_path: Path) -> None:
    """The zip is stored, not deflated, with the group's metadata first, and holds each key once."""
    found = Bench.of(tmp_path, stacked(ramp())).one(".zarr.zip")
    with zipfile.ZipFile(found.path) as archive:
        names = archive.namelist()
        assert names[0] == "zarr.json"
        assert len(set(names)) == len(names)
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {one.date_time[0] for one in archive.infolist()} == {1980}


def test_sqlite_is_one_file(tmp_path: Path) -> None:
    """The SQLite file is whole by itself: no journal beside it, and its own check finds nothing."""
    found = Bench.of(tmp_path, stacked(ramp())).one(".sqlite")
    with sqlite3.connect(found.path) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("PRAGMA application_id").fetchone() == (0x10B50760,)
    database.close()
    assert [one.name for one in tmp_path.iterdir()] == ["v.sqlite"]


def test_gzip_is_whole(tmp_path: Path) -> None:
    """The compressed file is one whole member that the standard library reads to its end."""
    bench = Bench.of(tmp_path, stacked(ramp(40, 64, 72) * 31))
    plain, packed = bench.one(".nii", "plain"), bench.one(".nii.gz", "packed")
    assert packed.status == "made", packed.refusal
    assert gzip.decompress(packed.path.read_bytes()) == plain.path.read_bytes()


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("orient", ["native", "ras"])
def test_more_than_one_slab(extension: str, orient: str, tmp_path: Path) -> None:
    """A volume of several slabs, with a last one that is not full, is the same as in memory."""
    values = np.random.default_rng(8).integers(-32768, 32768, (150, 6, 9)).astype("<i2")
    cosines, step = GEOMETRIES["coronal"]
    bench = Bench.of(tmp_path, stacked(values, cosines=cosines, step=step))
    found = bench.one(extension, options={"orient": orient})
    volumes.check(found.path, values, affine_of(cosines, step=step))


def test_size_in_memory_is_what_the_plan_says(tmp_path: Path) -> None:
    """The plan's shape, type and bytes are the file's."""
    bench = Bench.of(tmp_path, stacked(ramp()))
    planned = only(bench.plan())
    array: Any = zarr.open_array(bench.one(".zarr").path / "volume", mode="r")
    assert planned.shape[1:] == array.shape
    assert planned.values.dtype == array.dtype
    assert planned.bytes == array[:].nbytes


# --- nothing of a patient


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_no_identity(extension: str, tmp_path: Path) -> None:
    """No file holds the patient's name, number, birth date or accession number."""
    secrets = {
        "PatientName": "Zymurgy^Quentin",
        "PatientID": "QX-99871",
        "PatientBirthDate": "19420307",
        "AccessionNumber": "ACC5566778",
        "PatientAddress": "12 Elm Street",
        "ReferringPhysicianName": "Ferdinand^Theo",
        "InstitutionName": "St Elsewhere",
    }
    bench = Bench.of(tmp_path, stacked(ramp(), **secrets))
    bench.one(extension)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            data += gzip.decompress(data) if path.suffix == ".gz" else b""
            if path.suffix in (".npz", ".zip"):
                with zipfile.ZipFile(path) as archive:
                    data += b"".join(archive.read(name) for name in archive.namelist())
            for secret in secrets.values():
                assert secret.encode() not in data, (path.name, secret)
