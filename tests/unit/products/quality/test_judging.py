"""What is said of the quality of whole series."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydicom import Dataset

import make_dicom as make
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.archive.opened import OpenedSeries
from dicom_series_preview.base.errors import (
    AccessDeniedError,
    NoImageError,
    ObjectNotFoundError,
    StorageError,
)
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.pixels.decoded import Decoded
from dicom_series_preview.pixels.quality.thresholds import Thresholds
from dicom_series_preview.pixels.slices import DecodedSlice, Gaps
from dicom_series_preview.products.quality.judging import (
    Judging,
    QualityReport,
    _of_slice,
    judge_opened,
    judge_series,
)
from dicom_series_preview.products.quality.lines import line_of
from dicom_series_preview.sources.storage.base import Storage
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.sources.storage.prefetched import Prefetched
from doubles import FailingStorage
from indexing import Setting

SIDE = 40
NOISE = np.random.default_rng(7)
GOOD = NOISE.integers(0, 1000, (SIDE, SIDE)).astype("<u2")
FLAT = np.full((SIDE, SIDE), 500, "<u2")


def image(number: int, values: np.ndarray = GOOD, **elements: Any) -> Dataset:
    """A CT slice of values, 3 mm above the one before."""
    sizes = {"Rows": values.shape[0], "Columns": values.shape[1], "RescaleIntercept": 0.0}
    place = {"ImagePositionPatient": [0.0, 0.0, 3.0 * number]}
    own = {"BitsStored": 16, "HighBit": 15, "PixelData": values.tobytes()}
    return make.image(number, **{**sizes, **place, **own, **elements})


def objects(*sources: Dataset | bytes) -> dict[str, bytes]:
    """Data sets, and objects as they are, of one series."""
    return {
        f"s/{number:03}.dcm": source if isinstance(source, bytes) else make.encode(source)
        for number, source in enumerate(sources)
    }


def opened(storage: Storage) -> OpenedSeries:
    return SeriesIndexer(storage, None, Limits()).open(SeriesName("s"))


def judging(environment: Mapping[str, str] | None = None, **options: Any) -> Judging:
    return Judging(lambda name: Thresholds.from_environment(environment or {}, name), Limits(), **options)


def report(*sources: Dataset | bytes, **environment: str) -> QualityReport:
    """What is said of a series in memory."""
    return judge_opened(opened(MemoryStorage(objects(*sources))), judging(environment))


def line(*sources: Dataset | bytes, **environment: str) -> str:
    return line_of(report(*sources, **environment))


def codes(*sources: Dataset) -> list[str]:
    return [one.code for one in report(*sources).findings]


def test_a_good_series_is_normal() -> None:
    """No issue and no finding make one short line, and a document that says how it was judged."""
    sources = [image(n) for n in range(1, 6)]
    assert line(*sources) == "s: normal, no issue in 5 slices"
    document = report(*sources).document()
    assert json.loads(json.dumps(document)) == document
    assert (document["low_quality"], document["low_quality_ratio"]) == (False, 0.0)
    assert (document["low_quality_reason"], document["qc_mode"]) == ("Normal", "full")
    assert document["qc_sample_indices"] == list(range(5))
    assert document["thresholds"] == {"CT": Thresholds.from_environment({}, "CT").document()}
    assert (document["status"], document["modality"], document["findings"]) == ("judged", "CT", [])


def test_slices_with_issues_are_named() -> None:
    """The line says verdict, share, reasons and slices, and the document which object each is."""
    sources = [image(n, FLAT if n in (2, 3, 5) else GOOD) for n in range(1, 7)]
    # Display runs from the head down: the sixth slice comes first.
    told = "s: low quality, 3 of 6 slices with issues (50%): Invalid dynamic range (3): slices 1, 3 to 4"
    assert line(*sources) == told
    flagged = [one for one in report(*sources).document()["low_quality_details"] if one["low_quality"]]
    assert [(one["index"], one["stack"], one["slice"]) for one in flagged] == [(n, 0, n) for n in (1, 3, 4)]
    uids = [one["sop_instance_uid"] for one in flagged]
    assert uids == [f"{make.SERIES_UID}.{number}" for number in (5, 3, 2)]
    assert flagged[0]["file_name"] == "004.dcm"


def test_one_image_has_its_own_reasons() -> None:
    """A series of one slice says what is wrong with it."""
    assert line(image(1, FLAT)) == "s: low quality: Invalid dynamic range"
    assert line(image(1)) == "s: normal, no issue in 1 slice"


def test_a_slice_that_cannot_be_decoded_is_a_finding() -> None:
    """A frame that is no codestream, or cut short, is of low quality for that reason, and ends nothing."""
    rubbish = image(1, PixelData=make.encapsulate([[b"rubbish!"]]), SamplesPerPixel=1)
    found = report(make.encode(rubbish, make.JPEG), image(2), image(3), image(4))
    document = found.document()
    assert document["low_quality"] is False
    assert "No pixel data available (1): slice 3" in line_of(found)
    (failed,) = [one for one in document["low_quality_details"] if one["low_quality"]]
    assert (failed["reasons"], failed["metrics"]) == (["no_pixel_data"], None)
    assert failed["error"]
    good = [one for one in document["low_quality_details"] if not one["low_quality"]]
    assert [one["error"] for one in good] == [None] * 3


def test_values_are_those_after_rescale_without_padding() -> None:
    """Rescale counts, each slice's own, and padding does not."""
    padded = GOOD.copy()
    padded[:, : SIDE // 2] = 63_536
    sources = [image(n, padded, PixelPaddingValue=63_536, RescaleIntercept=-100.0 * n) for n in (1, 2, 3)]
    details = report(*sources).document()["low_quality_details"]
    assert [one["metrics"]["values"] for one in details] == [SIDE * SIDE // 2] * 3
    lows = np.percentile(GOOD[:, SIDE // 2 :], 2) - 100.0 * np.array([3, 2, 1])
    assert [one["metrics"]["percentile_low"] for one in details] == pytest.approx(lows)
    empty = image(1, np.full((SIDE, SIDE), 63_536, "<u2"), PixelPaddingValue=63_536)
    assert line(empty) == "s: low quality: Empty pixel data"


@pytest.mark.parametrize(
    ("photometric", "told"), [("MONOCHROME2", "Potential inverted border"), ("MONOCHROME1", "")]
)
def test_a_border_is_bright_as_shown(photometric: str, told: str) -> None:
    """In a radiograph, a border of high values is bright in MONOCHROME2 and dark in MONOCHROME1."""
    framed = GOOD // 2
    framed[:, :6] += 500
    framed[:, -6:] += 500
    source = image(1, framed, Modality="DX", PhotometricInterpretation=photometric)
    assert line(source) == (f"s: low quality: {told}" if told else "s: normal, no issue in 1 slice")


def test_the_environment_changes_the_verdict() -> None:
    """Thresholds of the modality, and the ratio, are those of the environment."""
    sources = [image(n, FLAT if n == 1 else GOOD) for n in range(1, 6)]
    assert report(*sources).quality.low_quality is False
    assert report(*sources, QC_CT_SERIES_LOW_QUALITY_RATIO="0.1").quality.low_quality is True
    assert report(*sources, QC_MR_SERIES_LOW_QUALITY_RATIO="0.1").quality.low_quality is False
    strict = report(*sources, QC_CT_STD_MIN="1000")
    assert strict.quality.low_quality is True
    assert strict.document()["thresholds"]["CT"]["std_min"] == 1000


def test_of_many_slices_seven_are_fetched() -> None:
    """Of more than 200 slices only the middle one and three on either side are asked of the storage."""
    setting = Setting(objects(*(image(n) for n in range(1, 302))))
    setting.open()
    again = setting.open()
    setting.storage.reset()
    found = judge_opened(again, judging())
    assert line_of(found) == "s: normal, no issue in the middle 7 of 301 slices"
    assert (found.quality.mode, sorted(found.quality.slices)) == ("sample", list(range(147, 154)))
    assert len(setting.storage.ranges) == 7
    assert setting.names() == [f"s/{301 - 1 - n:03}.dcm" for n in reversed(range(147, 154))]


def test_progress_counts_slices() -> None:
    """Whoever waits sees each slice."""
    seen: list[tuple[int, int]] = []
    sources = objects(*(image(n) for n in range(1, 4)))
    judge_opened(opened(MemoryStorage(sources)), judging(progress=lambda done, of: seen.append((done, of))))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_localizers_are_left_out() -> None:
    """A localizer beside a stack is not judged, and counted; a series of localizers alone is."""
    scout = image(9, FLAT, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert (
        line(image(1), image(2), scout)
        == "s: normal, no issue in 2 slices; not judged: 1 slice of localizers"
    )
    assert line(scout) == "s: low quality: Invalid dynamic range"


def test_colour_is_not_judged() -> None:
    """A colour image has no shades of grey: alone it makes no verdict, beside others it is counted."""
    rgb = image(
        5,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=bytes(SIDE * SIDE * 3),
    )
    alone = report(rgb)
    assert line_of(alone) == "s: not judged: 1 slice in colour"
    document = alone.document()
    assert (document["status"], document["low_quality"], document["low_quality_details"]) == (
        "not judged",
        None,
        [],
    )
    assert line(image(1), image(2), rgb).endswith("2 slices; not judged: 1 slice in colour")


def test_colour_among_grey_is_left_out_before_it_is_fetched() -> None:
    """Of a stack with images in grey and in palette colour, the first ones count, and are all of it."""
    table = {
        "PhotometricInterpretation": "PALETTE COLOR",
        **{f"{name}PaletteColorLookupTableDescriptor": [4, 0, 16] for name in ("Red", "Green", "Blue")},
        **{f"{name}PaletteColorLookupTableData": bytes(8) for name in ("Red", "Green", "Blue")},
    }
    found = report(image(1), image(2, FLAT, **table), image(3, FLAT))
    assert (found.quality.mode, found.quality.count) == ("full", 2)
    assert line_of(found) == (
        "s: low quality, 1 of 2 slices with issues (50%): Invalid dynamic range (1): slice 0; "
        "not judged: 1 slice in colour"
    )
    assert [place.slice for place in found.slices.values()] == [0, 2]


def test_places_without_a_frame_do_not_count() -> None:
    """Where a slice is put together from frames, what none of them covers is no value."""
    absent = np.zeros((SIDE, SIDE), np.bool_)
    absent[: SIDE // 2] = True
    series = opened(MemoryStorage(objects(image(1))))
    decoded = Decoded(np.where(absent, 60_000, GOOD), "MONOCHROME2")
    gaps = Gaps(absent, (), "", 1, 2)
    found = _of_slice(DecodedSlice(series.index.slices([0])[0], decoded, gaps=gaps), judging())
    assert found.quality.metrics is not None
    assert found.quality.metrics.values == SIDE * SIDE // 2
    assert found.quality.metrics.percentile_high == np.percentile(GOOD[SIDE // 2 :], 98)


def test_a_lookup_table_that_is_cut_off_leaves_no_values() -> None:
    """A slice whose modality LUT ends early has no values, and the document says why."""
    lut = make.dataset(LUTDescriptor=[1000, 0, 16], LUTData=bytes(20), ModalityLUTType="US")
    made = image(1, RescaleSlope=None, RescaleIntercept=None, ModalityLUTSequence=[lut])
    (only,) = report(made).document()["low_quality_details"]
    assert only["reasons"] == ["no_pixel_data"]
    assert only["error"] == "a lookup table is cut off: 1000 entries expected, 20 bytes found"


def test_slices_of_several_stacks_are_named_with_their_stack() -> None:
    """Where slices of more than one stack are judged, each has its stack's number."""
    small = [image(n, FLAT[: SIDE // 2]) for n in (8, 9)]
    told = line(image(1, FLAT), image(2), image(3), *small)
    assert "with issues (60%): Invalid dynamic range (3): stack 0 slice 2; stack 1 slices 0 to 1;" in told


@pytest.mark.parametrize(("modality", "what"), [("SEG", "segments"), ("RTDOSE", "doses")])
def test_labels_and_doses_are_no_shades(modality: str, what: str) -> None:
    """Segmentations and doses are flat by nature, and not judged."""
    sources = [image(n, FLAT, Modality=modality) for n in (1, 2)]
    assert line(*sources) == f"s: not judged: 2 slices of {what}"


def test_slides_are_not_fetched() -> None:
    """A whole slide image, of one channel too, is not judged, and none of its tiles is asked for."""
    planes = NOISE.integers(0, 255, (1, 1, 64, 64), np.uint8)
    setting = Setting({"s/1.dcm": make.encode(make.level(planes, (16, 16)))})
    setting.open()
    again = setting.open()
    setting.storage.reset()
    assert line_of(judge_opened(again, judging())) == "s: not judged: 1 slice of slides"
    assert setting.storage.ranges == []


def test_each_slice_of_a_siemens_mosaic_is_judged() -> None:
    """A mosaic is taken apart: its slices have verdicts of their own."""
    slices = NOISE.integers(1, 1000, (9, 16, 16)).astype(np.uint16)
    slices[4] = 100
    found = report(make.mosaic(slices, Modality="MR"))
    assert len(found.quality.slices) == 9
    (flagged,) = found.quality.flagged
    assert found.slices[flagged].slice == 4


def test_findings_have_codes() -> None:
    """Gaps, uneven steps, rounded positions and too many slices of a place are named by code."""

    def heights(*places: float) -> list[str]:
        return codes(*(image(n, ImagePositionPatient=[0.0, 0.0, z]) for n, z in enumerate(places, 1)))

    assert heights(0, 3, 6, 9) == []
    assert heights(0, 3, 6, 12, 15) == ["missing_slices"]
    assert heights(0, 3, 6, 10, 13) == ["nonuniform_spacing"]
    assert heights(0, 3, 6, 12, 15, 19.5) == ["missing_slices", "nonuniform_spacing"]
    assert heights(0, 3.05, 6, 9) == ["rounded_positions"]
    assert heights(0, 3.2, 6, 9) == ["nonuniform_spacing"]
    assert heights(0, 3, 3, 6, 9, 12, 15) == ["duplicate"]


def test_a_tilted_gantry_is_a_finding() -> None:
    """Slices turned against the table's way are named with their angle."""
    angle = math.radians(20)
    cosines = [1.0, 0.0, 0.0, 0.0, math.cos(angle), math.sin(angle)]
    found = report(*(image(n, ImageOrientationPatient=cosines) for n in range(1, 5)))
    assert [(one.code, one.stack) for one in found.findings] == [("gantry_tilt", 0)]
    assert "20.0 degrees" in line_of(found)


def test_several_sizes_and_planes_are_findings() -> None:
    """Stacks of other sizes or planes are named once for the series; a localizer's do not count."""
    small = image(8, GOOD[: SIDE // 2])
    coronal = image(9, ImageOrientationPatient=list(make.CORONAL))
    scout = image(7, GOOD[:8], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    two = [image(1), image(2)]
    assert codes(*two, small) == ["mixed_sizes"]
    assert codes(*two, coronal) == ["orientation_varies"]
    assert codes(*two, scout) == []
    assert "images have 2 sizes: 40 x 40, 40 x 20 pixels (mixed_sizes)" in line(*two, small)


def test_a_slice_that_a_dimension_lacks_is_a_finding() -> None:
    """Where a location has no slice of some echo, the grid is incomplete."""
    echoes = [
        image(10 * n + k, EchoTime=20.0 * k, Modality="MR", ImagePositionPatient=[0.0, 0.0, 3.0 * n])
        for n in range(1, 4)
        for k in (1, 2)
    ]
    assert codes(*echoes) == []
    assert codes(*echoes[:5]) == ["incomplete_grid"]


def test_identical_objects_are_counted_once() -> None:
    """Two objects with the same bytes are one slice, and a finding."""
    twice = [image(1), image(1), image(2)]
    assert codes(*twice) == ["duplicate"]
    assert line(*twice).startswith("s: normal, no issue in 2 slices; 1 object is identical to another")


def test_objects_that_cannot_be_read_are_said() -> None:
    """An object that is no DICOM, or has no image, is named in the document and counted in the line."""
    found = report(image(1), b"no DICOM at all, but long enough to be looked at", make.report(7))
    assert line_of(found).endswith("; 2 objects skipped")
    assert [one["name"] for one in found.document()["skipped"]] == ["001.dcm", "002.dcm"]


def test_a_series_without_images_cannot_be_judged() -> None:
    """A series of reports alone is refused, as pictures are."""
    with pytest.raises(NoImageError, match="no object of it has an image"):
        report(make.report(1))


class Opening:
    """Opens a series: first as told, then from its storage.

    Attributes:
        first: What is opened first.
        calls: For each opening, whether the index was to be built anew.
    """

    def __init__(self, storage: Storage, first: Callable[[OpenedSeries], OpenedSeries]) -> None:
        self._storage, self.first = storage, first(opened(storage))
        self.calls: list[bool] = []

    def __call__(self, refresh: bool) -> OpenedSeries:  # noqa: FBT001 - as `judge_series` calls it
        """Noted."""
        self.calls.append(refresh)
        return opened(self._storage) if refresh else self.first


def without_bytes(series: OpenedSeries) -> OpenedSeries:
    """The series as a cached index opens it: no pixels have come with the headers."""
    return replace(series, prefetched=Prefetched())


def test_a_series_that_changes_meanwhile_is_read_again() -> None:
    """Where an object is another one than was indexed, the whole series is judged anew."""
    storage = MemoryStorage(objects(image(1), image(2)))
    opening = Opening(storage, without_bytes)
    storage.put("s/001.dcm", make.encode(image(2, FLAT)))
    found = judge_series(opening, judging())
    assert opening.calls == [False, True]
    assert "1 of 2 slices with issues (50%): Invalid dynamic range (1): slice 0" in line_of(found)


def test_a_damaged_index_is_read_again() -> None:
    """An index that contradicts itself is reported, and the series is opened anew."""

    def damaged(series: OpenedSeries) -> OpenedSeries:
        table = series.index.table
        at = table.schema.get_field_index("PrimaryAxis")
        broken = pa.array(["Q"] * table.num_rows).cast(table.schema.field(at).type)
        return replace(series, index=Index(table.set_column(at, table.schema.field(at), broken)))

    opening = Opening(MemoryStorage(objects(image(1), image(2))), damaged)
    told: list[str] = []
    found = judge_series(opening, judging(damaged=lambda name, _why: told.append(name)))
    assert (opening.calls, told, found.quality.low_quality) == ([False, True], ["s"], False)


@pytest.mark.parametrize(("kind", "opens"), [(AccessDeniedError, 1), (ObjectNotFoundError, 3)])
def test_what_cannot_be_fetched_is_no_verdict(kind: type[StorageError], opens: int) -> None:
    """An object that the storage refuses, or has lost for good, says nothing of quality: it is an error."""
    refusing = FailingStorage(
        MemoryStorage(objects(image(1), image(2))), {"s/001.dcm": kind("memory://s/001.dcm")}
    )
    calls = []

    def opening(refresh: bool) -> OpenedSeries:  # noqa: FBT001 - as `judge_series` calls it
        calls.append(refresh)
        return replace(without_bytes(opened(refusing.inner)), storage=refusing)

    with pytest.raises(kind):
        judge_series(opening, judging())
    assert calls == [False, True, True][:opens]
