import base64
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import dicom_series_preview
import make_dicom
from dicom_series_preview.archive.names import index_folder, index_path
from dicom_series_preview.base import errors
from dicom_series_preview.doors.python.series import Series


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with a series of five slices, and a cache folder of its own."""
    folder = tmp_path / "root" / "S"
    folder.mkdir(parents=True)
    for number in range(1, 6):
        stored = np.full((8, 8), 100 * number, "<u2")
        data = make_dicom.image(
            number, Rows=8, Columns=8, PixelSpacing=[1.0, 1.0], PixelData=stored.tobytes(), KVP=100 + number
        )
        (folder / f"{number}.dcm").write_bytes(make_dicom.encode(data))
    monkeypatch.setenv("DICOM_SERIES_PREVIEW_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "root"


def test_package_exports() -> None:
    """What the package promises is there."""
    assert all(hasattr(dicom_series_preview, name) for name in dicom_series_preview.__all__)
    assert dicom_series_preview.Series is Series


def test_pictures(root: Path) -> None:
    """A series gives mosaics, images and contrast mosaics, with options as on the command line."""
    series = Series("S", root=root)
    mosaic = series.mosaic(tile_width=2, image_width=8, contrast="lung")
    assert (mosaic.media_type, mosaic.report.width, mosaic.report.height) == ("image/webp", 16, 16)
    assert mosaic.data[8:12] == b"WEBP"
    image = series.image(0.5, image_format="jpeg", image_width=8)
    assert (image.media_type, image.data[:2]) == ("image/jpeg", b"\xff\xd8")
    assert [tile.file_name for tile in image.report.tiles] == ["3.dcm"]
    assert series.image(0.5, slice_offset=-1).report.tiles[0].file_name == "4.dcm"
    compared = series.contrast_mosaic("lung", "1500/-500", "auto", position=0, image_width=8)
    assert (compared.report.width, compared.report.height) == (24, 8)
    assert [tile.contrast.kind for tile in compared.report.tiles] == ["preset", "custom", "auto"]


def test_none_is_not_given(root: Path) -> None:
    """None is an option that is not given."""
    series = Series("S", root=str(root))
    given = series.mosaic(tile_width=2, quality=50, start=0.25, contrast=None)
    assert given.data == series.mosaic(tile_width=2, quality=50, start=0.25).data


def test_mistakes_are_request_errors(root: Path) -> None:
    """A wrong option is the request's error, all at once, and an unknown one too."""
    series = Series("S", root=root)
    with pytest.raises(errors.CombinedRequestError) as caught:
        series.mosaic(tile_width=0, quality=101)
    assert [error.parameter for error in caught.value.errors] == ["tile_width", "quality"]
    with pytest.raises(TypeError, match="nonsense"):
        series.image(0, nonsense=1)  # as of any function
    with pytest.raises(errors.RequestError, match="position"):
        series.image(1.5)
    with pytest.raises(errors.RequestError, match="contrast"):
        series.contrast_mosaic()


@pytest.mark.parametrize(("name", "where"), [("../S", "."), ("", "."), ("S", "ftp://host")])
def test_bad_names_are_refused_at_once(name: str, where: str, root: Path) -> None:
    """A name or root that cannot be one is refused before anything is asked."""
    assert root
    with pytest.raises(errors.RequestError):
        Series(name, root=where)


def test_name_may_bring_its_root(root: Path) -> None:
    """An absolute path names root and series."""
    assert Series(str(root / "S")).image(0).report.series == "S"


def test_index_is_kept(root: Path, tmp_path: Path) -> None:
    """An index is kept in the variable's folder, in the folder that is given, or not at all."""
    Series("S", root=root, cache=False).mosaic()
    assert not (tmp_path / "cache").exists()
    Series("S", root=root).mosaic()
    kept = index_path("S", index_folder(root.as_uri()))
    assert (tmp_path / "cache" / kept).is_file()
    given = tmp_path / "given" / ".." / "a b"
    Series("S", root=root, cache_dir=given).mosaic()
    assert (tmp_path / "a b" / kept).is_file()
    assert Series("S", root=root, cache_dir=given).mosaic().report.index_source == "cache"


def test_cache_that_is_a_file(root: Path, tmp_path: Path) -> None:
    """A cache folder that cannot be made is done without."""
    (tmp_path / "cache").write_bytes(b"")
    assert Series("S", root=root).mosaic().report.index_source == "built"
    assert (tmp_path / "cache").read_bytes() == b""


def test_table(root: Path) -> None:
    """The table has a row a slice, in display order."""
    table = Series("S", root=root).table
    assert table.column("FileName").to_pylist() == ["5.dcm", "4.dcm", "3.dcm", "2.dcm", "1.dcm"]
    assert table.column("Index").to_pylist() == [0, 1, 2, 3, 4]


def test_header(root: Path) -> None:
    """A row's header is the object's, what is the same everywhere and what varies, without pixels."""
    series = Series("S", root=root)
    header = series.header(0)
    assert (header.SOPInstanceUID, header.Modality, header.KVP) == (f"{make_dicom.SERIES_UID}.5", "CT", 105)
    assert "PixelData" not in header
    for row in (-1, 5):
        with pytest.raises(errors.RequestError, match="0 to 4"):
            series.header(row)


def test_facts_and_places(tmp_path: Path) -> None:
    """A series tells its stacks' dimensions, and shows and measures the place on one that is asked for."""
    (tmp_path / "E").mkdir()
    for number in range(6):
        echo = {"EchoTime": 5.0 * (1 + number % 2), "ImagePositionPatient": [0, 0, number // 2]}
        stored = np.full((4, 6), 100 * (number % 2), "<u2").tobytes()
        made = make_dicom.image(number, **echo, RescaleIntercept=0, PixelData=stored)
        (tmp_path / "E" / f"{number}.dcm").write_bytes(make_dicom.encode(made))
    series = Series("E", root=tmp_path, cache=False)
    facts = series.facts()
    assert (facts["shape"], facts["dimensions"][0]["values"]) == ("slice x echo time", [5.0, 10.0])
    with pytest.raises(errors.RequestError, match="stack: 1 is none of this series' stacks: 0"):
        series.facts(1)
    assert [series.array(0, at=[f"te={echo}"])[0, 0] for echo in (5, 10)] == [0, 100]
    assert series.array(0.5)[0, 0] == 0
    assert [place.text for place in series.mosaic(at="te=10").report.at] == ["echo time=10"]


def test_save(root: Path, tmp_path: Path) -> None:
    """A picture is saved whole; under another format's extension it is rendered anew in that one."""
    picture = Series("S", root=root).image(0, image_format="jpeg")
    for name in ("a.jpg", "a.jpeg", "a.JPG"):
        picture.save(tmp_path / name)
        assert (tmp_path / name).read_bytes() == picture.data
    for name, image_format in (("a.webp", "webp"), ("a.png", "png")):
        picture.save(tmp_path / name)
        assert (tmp_path / name).read_bytes() == Series("S", root=root).image(
            0, image_format=image_format
        ).data
    for name in ("a.gif", "a"):
        with pytest.raises(errors.RequestError):
            picture.save(tmp_path / name)
        assert not (tmp_path / name).exists()
    with pytest.raises(errors.OutputError, match="no such folder"):
        picture.save(str(tmp_path / "missing" / "a.jpg"))


def test_saved_anew_as_it_was_asked_for(root: Path, tmp_path: Path) -> None:
    """What is rendered anew has the options that were given; a quality only where the format has one."""
    series = Series("S", root=root)
    asked = {"tile_width": 2, "image_width": 8, "contrast": "400/300", "quality": 80}
    picture = series.mosaic(**asked)
    for name, image_format in (("a.jpg", "jpeg"), ("a.png", "png")):
        picture.save(tmp_path / name)
        given = {key: value for key, value in asked.items() if key != "quality" or image_format != "png"}
        assert (tmp_path / name).read_bytes() == series.mosaic(image_format=image_format, **given).data


def test_array(root: Path) -> None:
    """A slice's modality values are those of the file, before any window, at its size; colour is RGB."""
    colour = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    (root / "C").mkdir()
    data = make_dicom.image(
        1,
        Rows=8,
        Columns=8,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        PixelData=colour.tobytes(),
    )
    (root / "C" / "1.dcm").write_bytes(make_dicom.encode(data))
    (root / "R").mkdir()
    stored = np.arange(64, dtype="<u2").reshape(8, 8)
    data = make_dicom.image(
        1, Rows=8, Columns=8, RescaleSlope=2, RescaleIntercept=-1024, PixelData=stored.tobytes()
    )
    (root / "R" / "1.dcm").write_bytes(make_dicom.encode(data))
    series = Series("S", root=root)
    for position, number in ((0, 5), (0.5, 3), (1, 1)):
        values = series.array(position)
        assert values.shape == (8, 8)
        assert np.all(values == 100 * number - 1024)
    assert np.all(series.array(0.5, slice_offset=-1) == 400 - 1024)
    assert np.array_equal(Series("R", root=root).array(0), stored * 2.0 - 1024)
    assert np.array_equal(Series("C", root=root).array(0), colour)


def test_pil(root: Path) -> None:
    """A picture is a Pillow image at its size."""
    picture = Series("S", root=root).mosaic(tile_width=2, image_width=8, image_format="png")
    image = picture.pil()
    assert (image.size, image.mode) == ((16, 16), "L")


def test_pickling(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture and a series go to another process, wherever that works, and are saved and asked there."""
    monkeypatch.chdir(root)
    series = Series("S", root=".")
    picture = series.image(0.5, image_width=8)
    packed = pickle.dumps((series, picture))
    monkeypatch.chdir(tmp_path)
    again, same = pickle.loads(packed)  # noqa: S301 - our own
    assert same == picture
    same.save("a.png")
    assert (tmp_path / "a.png").read_bytes() == again.image(0.5, image_width=8, image_format="png").data
    assert b"secret" not in packed


def test_paths(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Path is a folder or one DICOM file, whatever root there is; so is a relative path that is there."""
    monkeypatch.chdir(root)
    named = [
        Series(Path("S")),
        Series(root / "S"),
        Series("./S"),
        Series("S/"),
        Series(Path("S"), root="/none"),
    ]
    assert {one.image(0).report.series for one in named} == {"S"}
    for file in (Path("S/2.dcm"), root / "S" / "2.dcm", "S/2.dcm"):
        report = Series(file).image(0).report
        assert [(tile.sop_instance_uid, tile.file_name) for tile in report.tiles] == [
            (f"{make_dicom.SERIES_UID}.2", "2.dcm")
        ]
        assert report.slices == 1


def test_notebook(root: Path) -> None:
    """A notebook shows the picture at its size, from the HTML alone."""
    picture = Series("S", root=root).mosaic(tile_width=2, image_width=8)
    html = picture._repr_html_()
    found = re.fullmatch(
        r'<img src="data:image/webp;base64,([^"]+)" width="16" height="16" alt="[^"]+">', html
    )
    assert found
    assert base64.b64decode(found[1]) == picture.data


def test_reprs_are_short(root: Path) -> None:
    """What a notebook prints names the series and its root, and holds no bytes."""
    series = Series("S", root=root)
    assert repr(series) == f"Series('S', root='{root.as_uri()}')"
    assert repr(series.image(0)) == "Preview(media_type='image/webp')"


def test_errors_are_the_products(root: Path) -> None:
    """Whatever goes wrong is a PreviewError."""
    (root / "empty-ish").mkdir()
    (root / "empty-ish" / "a").write_bytes(b"no DICOM")
    with pytest.raises(errors.NoImageError):
        Series("empty-ish", root=root).mosaic()
    with pytest.raises(errors.PreviewError):
        Series("missing", root=root).table  # noqa: B018
