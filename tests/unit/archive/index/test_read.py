from __future__ import annotations

import json
import random
import struct
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest
from pydicom.filebase import DicomBytesIO

import make_dicom as make
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.damage import DamagedIndexError
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.records import Skipped
from dicom_series_preview.base.image import Content, Window
from dicom_series_preview.sources.headers.dicom_json import to_json
from dicom_series_preview.sources.headers.elements import BULK_VRS
from dicom_series_preview.sources.headers.locations import FrameLocation
from dicom_series_preview.sources.headers.overlays import OverlayPlane
from indexing import PROVENANCE, index_of, readable_records, records_of


def series(*sources, syntax=make.EXPLICIT):
    """Data sets as the objects of a series, named in order."""
    return {f"{i:03}.dcm": make.encode(source, syntax) for i, source in enumerate(sources)}


def without_bulk(document):
    """DICOM JSON without what is known by size and hash only."""
    return {
        key: {**body, "Value": [without_bulk(item) for item in body.get("Value", [])]}
        if body["vr"] == "SQ"
        else body
        for key, body in document.items()
        if body["vr"] not in BULK_VRS
    }


def assert_given_back(objects_records, index):
    """An index gives back every record that it was built from."""
    given = {record.name: record for record in index.records()}
    assert given.keys() == {record.name for record in objects_records}
    for record in objects_records:
        back = given[record.name]
        # Equal elements: tags, VRs, values; binary ones by size and hash.
        assert back.elements == record.elements, record.name
        assert without_bulk(to_json(back.elements)) == without_bulk(to_json(record.elements)), record.name
        assert replace(back, elements={}) == replace(record, elements={}), record.name


def some_series():
    """A series with what columns find hard: mixed VRs, gaps, empty parts, private blocks, sequences."""
    sources = [
        make.image(1, KVP=120.1, StudyDescription="Schädel", ImageType=["A", "B"]),
        make.image(2, KVP=None, StudyDescription="", ImageType=["A"]),
        make.add(make.image(3), 0x00180060, "LO", "text"),
        make.add(make.image(4), 0x00080008, "CS", ["A", "", "C"]),
        make.image(5, ReferencedImageSequence=[make.dataset(ReferencedSOPInstanceUID="1.2")]),
        make.image(6, ReferencedImageSequence=[]),
        make.enhanced([make.position_group(0, 0, z) for z in (7, 8)], make.orientation_group()),
        make.report(9),
    ]
    make.add(sources[0], 0x00181063, "FD", [float("nan"), 1.0])
    sources[0].private_block(0x0019, "MAKER", create=True).add_new(1, "OB", bytes(4000))
    sources[1].private_block(0x0019, "MAKER", create=True).add_new(1, "UN", b"short!")
    sources[2].private_block(0x0019, "OTHER", create=True).add_new(1, "OB", b"short!")
    return sources


@pytest.mark.parametrize("syntax", [*make.NATIVE, make.DEFLATED])
def test_the_index_gives_every_header_back(syntax):
    """The index alone gives back every header that it was built from."""
    sources = some_series()
    sources[0][0x00181063].value = [0.5, 1.0]
    objects = series(*sources, syntax=syntax)
    assert_given_back(records_of(objects), index_of(objects))


def test_numbers_that_are_none_come_back():
    """NaN of a binary number survives the index."""
    index = index_of(series(*some_series()))
    value = next(r for r in index.records(["000.dcm"])).elements[0x00181063].value
    assert np.isnan(value[0])
    assert value[1] == 1.0


def test_an_index_of_its_own_records_is_the_same():
    """An index built from what an index gives back is that index."""
    index = index_of(series(*some_series()))
    again = build(index.records(), PROVENANCE)
    assert again.schema == index.table.schema
    for name in again.column_names:
        assert str(again[name].to_pylist()) == str(index.table[name].to_pylist()), name


def test_headers_are_data_sets():
    """A row's header is the data set of its object, binary values and pixels aside."""
    objects = series(make.image(1, PatientName="A^B"), make.image(2, PatientName="A^B"))
    index = index_of(objects)
    for row, name in enumerate(index.table["FileName"].to_pylist()):
        expected = pydicom.dcmread(DicomBytesIO(objects[name]))
        del expected.PixelData
        assert index.header(row) == expected
        assert index.header(row).file_meta.TransferSyntaxUID == make.EXPLICIT


def test_records_can_be_asked_for_by_name():
    """Some objects' records cost no others'."""
    index = index_of(series(*some_series()))
    assert [record.name for record in index.records(["003.dcm"])] == ["003.dcm"]
    assert index.records([]) == []
    assert index.records(["no such"]) == []


def test_provenance_survives():
    """What an index says of itself survives the file."""
    said = replace(PROVENANCE, limit=3, skipped=(Skipped("x", "not DICOM: text", None, ""),), notes=("n",))
    assert index_of(series(make.image()), said).provenance == replace(said, series_instance_uids=1)


# --- damaged files


@pytest.mark.parametrize("version", [0, 3])
def test_a_file_of_another_schema_is_damaged(version):
    """An index of another schema version is not read, but built anew."""
    table = build(records_of(series(make.image())), PROVENANCE)
    key = b"dicom_series_preview"
    document = {**json.loads(table.schema.metadata[key]), "schema_version": version}
    other = table.replace_schema_metadata({**table.schema.metadata, key: json.dumps(document)})
    sink = pa.BufferOutputStream()
    pq.write_table(other, sink)
    with pytest.raises(DamagedIndexError, match=f"schema version {version}"):
        Index.from_parquet(bytes(sink.getvalue()))


def test_a_file_without_a_column_is_damaged():
    """An index without one of its columns is not read."""
    table = build(records_of(series(make.image())), PROVENANCE).drop_columns(["Stack"])
    with pytest.raises(DamagedIndexError, match="Stack"):
        Index.from_parquet(Index(table).to_parquet())


def test_a_flipped_bit_of_the_metadata_is_damage_or_can_be_read():
    """Wherever it lies behind the pages, which have checksums: no other error than a damaged index's."""
    data = Index(build(records_of(series(*some_series())), PROVENANCE)).to_parquet()
    length = int.from_bytes(data[-8:-4], "little") + 8
    read = 0
    for at in range(len(data) - length, len(data), 97):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        try:
            index = Index.from_parquet(bytes(flipped))
        except DamagedIndexError:
            continue
        read += 1
        assert index.provenance
        assert index.records()
    assert read


def test_another_parquet_file_is_no_index():
    """A Parquet file of somebody else is not read as an index."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), sink)
    with pytest.raises(DamagedIndexError):
        Index.from_parquet(bytes(sink.getvalue()))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"dicom_series_preview": "{no json"}), sink)
    with pytest.raises(DamagedIndexError):
        Index.from_parquet(bytes(sink.getvalue()))


def test_every_part_of_a_file_is_damaged():
    """A file that is cut off, empty or none at all is damaged, and never half an index."""
    data = Index(build(records_of(series(make.image(1), make.image(2))), PROVENANCE)).to_parquet()
    for end in [*range(0, len(data), 997), len(data) - 1]:
        with pytest.raises(DamagedIndexError):
            Index.from_parquet(data[:end])


def test_damaged_pages_are_found():
    """Bytes that changed in the file's pages are found by their checksum, not shown as values."""
    data = Index(build(records_of(series(*some_series())), PROVENANCE)).to_parquet()
    footer = struct.unpack("<I", data[-8:-4])[0]
    undamaged = Index.from_parquet(data).table.to_pylist()
    choice = random.Random(1)
    for _ in range(60):
        damaged = bytearray(data)
        damaged[choice.randrange(4, len(data) - footer - 8)] ^= 1 << choice.randrange(8)
        try:
            table = Index.from_parquet(bytes(damaged)).table
        except DamagedIndexError:
            continue
        assert str(table.to_pylist()) == str(undamaged)


# --- slices


def only(source, syntax=make.EXPLICIT):
    """The one slice of an object."""
    return index_of(series(source, syntax=syntax)).slices([0])[0]


def test_slices_say_what_it_takes_to_show_them():
    """A slice has its object's name, size and version, its frame's place, and its description."""
    objects = series(make.image(3))
    shown = index_of(objects).slices([0])[0]
    data = objects["000.dcm"]
    assert (shown.row, shown.file_name, shown.object_version) == (0, "000.dcm", "v-000.dcm")
    assert shown.object_size == len(data)
    assert shown.location == FrameLocation(len(data) - 48, 48)
    assert (shown.frame_number, shown.stack) == (1, 0)
    assert (shown.primary_axis, shown.primary_position) == ("Z", 3.0)
    assert shown.sop_instance_uid == f"{make.SERIES_UID}.3"
    assert shown.pixel_spacing_mm == (0.5, 0.25)
    pixels = shown.pixels
    assert (pixels.rows, pixels.columns, pixels.bits_allocated, pixels.bits_stored) == (4, 6, 16, 12)
    assert (pixels.high_bit, pixels.pixel_representation, pixels.pixel_keyword) == (11, 0, "PixelData")
    assert pixels.transfer_syntax_uid == make.EXPLICIT
    assert (shown.contrast.rescale_slope, shown.contrast.rescale_intercept) == (1.0, -1024.0)


def test_what_is_missing_has_the_standards_default():
    """A missing slope is 1, an intercept 0, a function LINEAR, a sample 1; BitsStored is BitsAllocated."""
    shown = only(
        make.image(
            RescaleSlope=None,
            RescaleIntercept=None,
            SamplesPerPixel=None,
            BitsStored=None,
            HighBit=None,
            PhotometricInterpretation=None,
            PixelRepresentation=None,
            PixelSpacing=None,
            ImagePositionPatient=None,
        )
    )
    contrast, pixels = shown.contrast, shown.pixels
    assert (contrast.rescale_slope, contrast.rescale_intercept) == (1.0, 0.0)
    assert (contrast.voi_lut_function, contrast.windows, contrast.voi_luts) == ("LINEAR", (), ())
    assert contrast.modality_lut is None
    assert contrast.pixel_padding_value is None
    assert (pixels.samples_per_pixel, pixels.bits_stored, pixels.high_bit) == (1, 16, 15)
    assert (pixels.photometric_interpretation, pixels.pixel_representation) == ("MONOCHROME2", 0)
    assert pixels.palette is None
    assert shown.pixel_spacing_mm is None
    assert shown.pixel_aspect_ratio is None


def test_slices_say_what_they_show():
    """What decides a window that no file gives is in the index, of each frame what holds for it."""
    plain = only(
        make.image(ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], BodyPartExamined="HEAD", RescaleType="HU")
    )
    assert plain.contrast.content == Content(
        modality="CT",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        body_part="HEAD",
        rescale_type="HU",
        is_rescaled=True,
        stored_range=(0, 4095),
    )
    region = make.dataset(CodeValue="89546000", CodingSchemeDesignator="SCT", CodeMeaning="Skull")
    groups = make.orientation_group(
        FrameAnatomySequence=[make.dataset(AnatomicRegionSequence=[region])],
        PixelValueTransformationSequence=[
            make.dataset(RescaleIntercept=0.0, RescaleSlope=1.0, RescaleType="MGML")
        ],
        CTImageFrameTypeSequence=[make.dataset(FrameType=["DERIVED", "PRIMARY", "VOLUME", "MAT_SPECIFIC"])],
    )
    source = make.enhanced([make.position_group(0, 0, 1)], groups, BitsStored=16, PixelRepresentation=1)
    assert only(source).contrast.content == Content(
        modality="CT",
        image_type=("DERIVED", "PRIMARY", "VOLUME", "MAT_SPECIFIC"),
        body_part="Skull",
        rescale_type="MGML",
        is_rescaled=True,
        stored_range=(-32768, 32767),
    )
    bare = make.image(Modality=None, RescaleIntercept=None, RescaleSlope=None, AnatomicRegionSequence=[])
    assert only(bare).contrast.content == Content(stored_range=(0, 4095))


def test_windows_keep_the_files_order():
    """Windows come in the file's order, unequal numbers cut to pairs, zero widths as they are."""
    shown = only(
        make.image(
            WindowCenter=[40.0, 300.0, 9.0],
            WindowWidth=[0.0, 1500.0],
            WindowCenterWidthExplanation=["SOFT"],
            VOILUTFunction="SIGMOID",
        )
    )
    assert shown.contrast.windows == (Window(40, 0, "SOFT"), Window(300, 1500, ""))
    assert shown.contrast.voi_lut_function == "SIGMOID"


@pytest.mark.parametrize(
    ("elements", "shape"),
    [
        ({"PixelSpacing": [1, 2], "ImagerPixelSpacing": [3, 4]}, (1, 2)),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [3, 4], "NominalScannedPixelSpacing": [5, 6]}, (3, 4)),
        ({"PixelSpacing": None, "NominalScannedPixelSpacing": [5, 6], "PixelAspectRatio": [7, 8]}, (5, 6)),
        ({"PixelSpacing": None, "PixelAspectRatio": [1, 2]}, (1, 2)),
        ({"PixelSpacing": None}, (1, 1)),
    ],
)
def test_spacing_precedence(elements, shape):
    """PixelSpacing wins over ImagerPixelSpacing, NominalScannedPixelSpacing and PixelAspectRatio."""
    shown = only(make.image(**elements))
    assert shown.pixel_shape == shape


@pytest.mark.parametrize("unusable", [[0, 0], [0, 1], [1, 0], [-1, -1], [0.5], [1, 2, 3]])
def test_unusable_spacing_is_passed_over(unusable):
    """A pair that is no two numbers above 0 gives way to the next."""
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        elements = {"PixelSpacing": None, name: unusable}
        assert only(make.image(**elements)).pixel_shape == (1, 1)
        assert only(make.image(**elements, PixelAspectRatio=[2, 3])).pixel_shape == (2, 3)
    given_way = only(make.image(PixelSpacing=unusable, ImagerPixelSpacing=[0.5, 0.25]))
    assert given_way.pixel_shape == given_way.pixel_spacing_mm == (0.5, 0.25)


@pytest.mark.parametrize("spacing", [[20, 1], [0.05, 1], [1, 100], [5000, 1]])
def test_long_pixels_are_believed(spacing):
    """However much longer a pixel is one way than the other: M-mode and depth scans have such."""
    assert only(make.image(PixelSpacing=spacing)).pixel_shape == tuple(spacing)


def lut(entries, first, bits, data, vr="US"):
    """A lookup table's item."""
    made = make.add(make.dataset(), 0x00283002, vr, [entries, first, bits])
    return make.add(made, 0x00283006, "OW", data)


@pytest.mark.parametrize("syntax", [make.EXPLICIT, make.IMPLICIT])
def test_lookup_tables(syntax):
    """A table of 0 entries has 65536, and its first value is signed where its input is."""
    source = make.image(
        PixelRepresentation=1,
        ModalityLUTSequence=[lut(0, 65535, 16, bytes(131072))],
        VOILUTSequence=[lut(4, 65535, 8, b"abcd"), lut(2, 5, 16, b"wxyz")],
    )
    contrast = only(source, syntax).contrast
    modality = contrast.modality_lut
    assert (modality.entries, modality.first_value, modality.bits, len(modality.data)) == (
        65536,
        -1,
        16,
        131072,
    )
    # What a modality LUT puts out is unsigned.
    assert [(t.entries, t.first_value, t.data) for t in contrast.voi_luts] == [
        (4, 65535, b"abcd"),
        (2, 5, b"wxyz"),
    ]


@pytest.mark.parametrize(("signed", "first"), [(0, 65000), (1, -536)])
def test_palettes_that_vary_are_kept(signed, first):
    """Palette tables stay with every slice, also where they differ, with their first value's sign."""
    sources = []
    for number in (1, 2):
        source = make.image(number, PhotometricInterpretation="PALETTE COLOR", PixelRepresentation=signed)
        for channel in range(3):
            make.add(source, 0x00281101 + channel, "US", [2, 65000, 16])
            make.add(source, 0x00281201 + channel, "OW", bytes([number, channel, 0, 9]))
        sources.append(source)
    slices = index_of(series(*sources)).slices([0, 1])
    assert [s.pixels.palette.green.data for s in slices] == [bytes([2, 1, 0, 9]), bytes([1, 1, 0, 9])]
    assert {s.pixels.palette.red.first_value for s in slices} == {first}
    assert not slices[0].pixels.palette.segmented


@pytest.mark.parametrize(("name", "bits"), [("FloatPixelData", 32), ("DoubleFloatPixelData", 64)])
def test_float_images_need_no_bits_allocated(name, bits):
    """Float and double images have 32 and 64 bits where the header does not say."""
    source = make.image(PixelData=None, BitsAllocated=None, BitsStored=None, HighBit=None)
    setattr(source, name, bytes(24 * bits // 8))
    shown = only(source)
    assert (shown.pixels.pixel_keyword, shown.pixels.bits_allocated) == (name, bits)
    assert shown.location.length == 24 * bits // 8


# --- stacks


def test_stacks_are_rows_in_display_order():
    """Each stack is its rows in display order; objects without an image are in none."""
    index = index_of(
        series(make.image(1), make.report(5), make.image(2), make.image(3, Rows=2, PixelData=bytes(24)))
    )
    assert {n: rows.tolist() for n, rows in index.stacks.items()} == {0: [0, 1], 1: [2]}
    stack = index.sorted_stack(0)
    assert stack.positions.tolist() == [2.0, 1.0]
    assert stack.locations.tolist() == [0, 1]
    assert stack.instance_numbers.tolist() == [2, 1]
    with pytest.raises(KeyError):
        index.sorted_stack(2)


def test_positions_of_a_stack_are_exact():
    """Positions are chosen among in full precision, though PrimaryPosition is a Float32."""
    exact = -1234.567890123
    index = index_of(series(make.image(1, ImagePositionPatient=[0.0, 0.0, exact])))
    assert index.sorted_stack(0).positions.tolist() == [exact]


def test_positions_without_positions():
    """A stack without positions has SliceLocation as its positions, one without both has none."""
    sources = [make.image(i, ImagePositionPatient=None, SliceLocation=i / 2) for i in (1, 2)]
    assert index_of(series(*sources)).sorted_stack(0).positions.tolist() == [1.0, 0.5]
    sources = [make.image(i, ImagePositionPatient=None) for i in (1, 2)]
    assert np.isnan(index_of(series(*sources)).sorted_stack(0).positions).all()


def test_times_of_a_stack():
    """What varies in time within a stack can be chosen by."""
    index = index_of(series(*(make.image(1, TriggerTime=t, SOPInstanceUID=f"1.{t}") for t in (30, 10, 20))))
    assert index.sorted_stack(0).times[0].tolist() == [10, 20, 30]


# --- real series


@pytest.mark.real_data
@pytest.mark.parametrize("part", range(2))
def test_real_headers_are_given_back(real_data, part):
    """The index alone gives back every header of real series, and of folders that are a wild mixture."""
    folders = [*sorted((real_data / "series").iterdir()), real_data / "single", real_data / "malformed"]
    assert len(folders) > 20
    for folder in folders[part::2]:
        records, skipped = readable_records(folder)
        assert len(records) > len(skipped), folder
        index = Index.from_parquet(Index(build(records, PROVENANCE)).to_parquet())
        assert_given_back(records, index)


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore")  # pydicom's, of real files
def test_real_headers_are_data_sets(real_data):
    """A row's header is the data set that its object's own bytes give."""
    for folder in [real_data / "malformed", *sorted((real_data / "series").iterdir())[::4]]:
        index = Index.from_parquet(Index(build(readable_records(folder)[0], PROVENANCE)).to_parquet())
        for row in range(0, index.table.num_rows, 7):
            path = folder / index.table["FileName"][row].as_py()
            given = index.header(row)
            own = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            public = [e for e in own if not e.tag.is_private and e.VR not in BULK_VRS and e.tag.element]
            for element in public:
                assert element.tag in given, (path, element)
                if element.VR != "SQ":
                    mine = given[element.tag]
                    same = mine == element or str(mine.value).split() == str(element.value).split()
                    assert same, (path, element, mine)


# --- overlays


def overlays_of(index):
    """By file name, the overlay planes of its slices and where they say its first frame begins."""
    rows = range(index.table.num_rows)
    return {s.file_name: (s.overlays, s.header_length) for s in index.slices(rows, overlays=True)}


def with_plane(number, rows, columns, **elements):
    """A slice with a plane of some size."""
    return make.overlay(make.image(number), np.ones((rows, columns), bool), **elements)


def test_overlays_of_slices():
    """The index tells each object's planes, whether they are all alike, differ, or are there in some only."""
    alike = index_of(series(with_plane(1, 4, 6), with_plane(2, 4, 6)))
    assert {planes for planes, _ in overlays_of(alike).values()} == {(OverlayPlane(0x6000, 4, 6),)}
    mixed = [
        with_plane(1, 40, 60, OverlayOrigin=[-2, 3]),
        make.image(2),
        with_plane(3, 4, 6, OverlayBitsAllocated=16, OverlayBitPosition=14, OverlayData=None),
        make.add(with_plane(4, 4, 6), 0x60000010, "SS", 4),
    ]
    objects = series(*mixed)
    found = overlays_of(index_of(objects))
    assert [found[f"{i:03}.dcm"][0] for i in range(4)] == [
        (OverlayPlane(0x6000, 40, 60, origin=(-2, 3)),),
        (),
        (OverlayPlane(0x6000, 4, 6, bit_position=14),),
        (OverlayPlane(0x6000, 4, 6),),
    ]
    for name in ("000.dcm", "003.dcm"):
        assert objects[name][found[name][1] :] == make.PIXELS


def test_overlays_of_frames():
    """Every frame has its object's planes, and knows where the first frame begins."""
    groups = [make.position_group(0, 0, z) for z in (1, 2, 3)]
    source = make.overlay(make.enhanced(groups), np.ones((3, 40, 60), bool))
    # Another VR than most have: a value that no column gives back.
    make.add(source, 0x60000011, "SS", 60)
    objects = series(source, with_plane(9, 4, 6), with_plane(10, 4, 6))
    index = index_of(objects)
    slices = [s for s in index.slices(range(5), overlays=True) if s.file_name == "000.dcm"]
    assert [s.overlays for s in slices] == [(OverlayPlane(0x6000, 40, 60, frames=3),)] * 3
    start = {s.header_length for s in slices}
    assert start == {min(s.location.offset for s in slices)}


def test_overlays_are_told_when_asked_for():
    """Slices without them are as ever."""
    index = index_of(series(with_plane(1, 4, 6)))
    (item,) = index.slices([0])
    assert (item.overlays, item.header_length) == ((), 0)
