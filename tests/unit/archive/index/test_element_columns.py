"""The indices of all series are one table."""

import json
import statistics
from collections import Counter
from dataclasses import replace

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import make_dicom as make
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.schema import FIXED_COLUMNS
from dicom_series_preview.sources.headers.elements import BULK_VRS, INTEGER_VRS, REAL_VRS
from indexing import PROVENANCE, by_file, index_of, readable_records, records_of

MODALITY, MANUFACTURER, PIXEL_SPACING, ECHO_TIME = 0x00080060, 0x00080070, 0x00280030, 0x00180081
INT, LONG, REAL, TEXT = pa.int32(), pa.int64(), pa.float64(), pa.utf8()
# What a value of each VR is in Arrow, as the specification has it; everything else is text.
TYPES = {
    **dict.fromkeys(("IS", "SS", "US", "SL"), INT),
    **dict.fromkeys(("UL", "SV"), LONG),
    "UV": pa.uint64(),
    **dict.fromkeys(("DS", "FD"), REAL),
    "FL": pa.float32(),
}
# What the reader of headers makes of what is written.
AS_READ = {
    "AT": "{:08X}".format,
    "DS": float,
    "IS": int,
    "FL": lambda value: float(np.float32(value)),
}


def series(*sources):
    """Data sets as the objects of a series, named in order."""
    return {f"{i}": make.encode(source) for i, source in enumerate(sources)}


def with_raw(number, tag, vr, raw):
    """An object with an element that is written byte by byte."""
    data = make.encode(make.image(number))
    at = data.index(make.element(0x0020000E, "UI", make.SERIES_UID.encode())[:8])
    return data[:at] + make.element(tag, vr, raw + b" " * (len(raw) % 2)) + data[at:]


def in_file(objects, provenance=PROVENANCE):
    """The table that others read of an index's file."""
    data = Index(build(records_of(objects), provenance)).to_parquet()
    return pq.read_table(pa.BufferReader(data))


def plain(kind):
    """A type whatever its lists call what is in them."""
    return pa.list_(kind.value_type) if pa.types.is_list(kind) else kind


@pytest.mark.parametrize(
    ("tag", "vr", "values", "kind"),
    [
        (0x00181153, "IS", ("1", "2"), INT),
        (0x00181153, "IS", ("1", "2147483647"), INT),
        (0x00189219, "SS", (-1, 2), INT),
        (0x00280106, "US", (1, 65535), INT),
        (0x00280106, "SS", (-1, 2), INT),
        (0x00186020, "SL", (-(2**31), 1), INT),
        (0x00081161, "UL", (1, [2**32 - 1, 0]), pa.list_(LONG)),
        (0x00720082, "SV", (-(2**62), 1), pa.list_(LONG)),
        (0x00720083, "UV", (1, 2), pa.list_(pa.uint64())),
        (0x00180060, "DS", ("120", "0.5"), REAL),
        (0x00180060, "DS", ("0.1", "0.2"), REAL),
        (0x00189087, "FD", (0.25, 1e10), REAL),
        (0x00089459, "FL", (0.5, 0.1), pa.float32()),
        (0x00720076, "FL", (0.5, [0.1, 1.0]), pa.list_(pa.float32())),
        (0x00181310, "US", ([0, 256, 256, 0], [0, 1, 2, 0]), pa.list_(INT)),
        (0x00180086, "IS", ("1", "2"), pa.list_(INT)),
        (0x00181020, "LO", ("one", ["one", "two"]), pa.list_(TEXT)),
        (0x0008103E, "LO", ("one", "two"), TEXT),
        (0x00080031, "TM", ("101112", "1112"), TEXT),
        (0x00280009, "AT", (0x00280010, [0x00280011, 0x00280012]), pa.list_(TEXT)),
    ],
)
def test_an_elements_type_follows_from_the_dictionary(tag, vr, values, kind):
    """The VR and multiplicity that the dictionary has decide a column's type, whatever the values are."""
    for pair in (values, values[:1] * 2, values[1:] * 2):
        table = in_file(series(*(make.add(make.image(i), tag, vr, v) for i, v in enumerate(pair))))
        key = f"{tag >> 16:04X},{tag & 0xFFFF:04X}".encode()
        (field,) = (field for field in table.schema if field.metadata[b"tag"] == key)
        assert plain(field.type) == kind
        for name, value in by_file(table, field.name).items():
            written = pair[int(name)] if isinstance(pair[int(name)], list) else [pair[int(name)]]
            expected = [AS_READ.get(vr, lambda each: each)(each) for each in written]
            assert value == (expected if pa.types.is_list(kind) else expected[0])


def test_private_elements_are_of_their_makers_types():
    """A private element is as its maker's dictionary says; one that no dictionary has is a list of texts."""
    sources = []
    for number in (1, 2):
        source = make.image(number)
        block = source.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0C, "IS", 1000 * number)
        block.add_new(0x0E, "FD", [0.5, 0.25, float(number)])
        unknown = source.private_block(0x0021, "NOBODY", create=True)
        unknown.add_new(0x01, "DS", number)
        unknown.add_new(0x02, "LO", ["A", f"B{number}"])
        sources.append(source)
    table = in_file(series(*sources))
    expected = {
        "0019,0c:SIEMENS MR HEADER": (INT, 1000),
        "0019,0e:SIEMENS MR HEADER": (pa.list_(REAL), [0.5, 0.25, 1.0]),
        "0021,01:NOBODY": (pa.list_(TEXT), ["1"]),
        "0021,02:NOBODY": (pa.list_(TEXT), ["A", "B1"]),
    }
    for name, (kind, value) in expected.items():
        assert plain(table.schema.field(name).type) == kind
        assert by_file(table, name)["0"] == value


def of_a_maker(group, element, vr, values, creator="NOBODY"):
    """The objects of a series, each with a value of a private element."""
    sources = [make.image(i) for i in range(len(values))]
    for source, value in zip(sources, values, strict=True):
        source.private_block(group, creator, create=True).add_new(element, vr, value)
    return series(*sources)


# By VR: what is written of an element that no dictionary has, and what its column says.
UNKNOWN = {
    "IS": (["1", "-2"], [["1"], ["-2"]]),
    "DS": (["1.5", ["2", "1e-7"]], [["1.5"], ["2", "1e-07"]]),
    "FL": ([0.1, [1.0, -0.0]], [["0.1"], ["1", "-0"]]),
    "FD": ([0.1, [1e300, 3.0]], [["0.1"], ["1e+300", "3"]]),
    "UV": ([2**64 - 1, 7], [["18446744073709551615"], ["7"]]),
    "AT": ([0x00181063, 0x00180081], [["00181063"], ["00180081"]]),
    "LO": (["a", ["b", "", "c"]], [["a"], ["b", None, "c"]]),
    "UT": (["a\\b", "c"], [["a\\b"], ["c"]]),
    "PN": (["A^B=C", "D"], [["A^B=C"], ["D"]]),
    "SQ": (
        [[make.dataset(CodeValue="1"), make.dataset(CodeValue="2")], [make.dataset(CodeValue="3")]],
        [
            ['{"00080100": {"vr": "SH", "Value": ["1"]}}', '{"00080100": {"vr": "SH", "Value": ["2"]}}'],
            ['{"00080100": {"vr": "SH", "Value": ["3"]}}'],
        ],
    ),
}


@pytest.mark.parametrize("vr", UNKNOWN)
def test_an_unknown_element_is_a_list_of_texts(vr):
    """An element that no dictionary has is a list of texts whatever its VR, and comes back whole."""
    written, expected = UNKNOWN[vr]
    public = series(*(make.add(make.image(i), 0x0018FFF0, vr, value) for i, value in enumerate(written)))
    for name, objects in (("0009,01:NOBODY", of_a_maker(9, 1, vr, written)), ("0018,fff0", public)):
        table = in_file(objects)
        assert plain(table.schema.field(name).type) == pa.list_(TEXT)
        assert by_file(table, name) == {f"{i}": value for i, value in enumerate(expected)}
        assert "OtherElements" not in table.column_names
        given = {record.name: record.elements for record in index_of(objects).records()}
        assert given == {record.name: record.elements for record in records_of(objects)}


def test_an_unknown_element_of_several_vrs_fills_its_column():
    """Objects of one series that write an unknown element with several VRs all have a cell, and come back."""
    sources = [make.image(i) for i in range(4)]
    for source, vr, value in zip(sources, ("IS", "DS", "LO", "IS"), ("1", "1.5", "c", "4"), strict=True):
        source.private_block(9, "NOBODY", create=True).add_new(1, vr, value)
    objects = series(*sources)
    table = in_file(objects)
    assert by_file(table, "0009,01:NOBODY") == {"0": ["1"], "1": ["1.5"], "2": ["c"], "3": ["4"]}
    given = {record.name: record.elements for record in index_of(objects).records()}
    assert given == {record.name: record.elements for record in records_of(objects)}


def test_indices_of_unknown_elements_are_one_table(tmp_path):
    """Series that write one unknown element with different VRs are one table for three readers."""
    binary = {"UN": ([b"a ", b"b "], [])}
    for vr, (written, _) in (UNKNOWN | binary).items():
        named = replace(PROVENANCE, series=vr)
        file = Index(build(records_of(of_a_maker(9, 1, vr, written)), named)).to_parquet()
        (tmp_path / f"{vr}.parquet").write_bytes(file)
    paths = sorted(tmp_path.iterdir())
    rows = 2 * len(paths)
    view = duckdb.read_parquet([str(path) for path in paths], union_by_name=True)
    numbers = view.filter("SeriesUID = 'DS'").select('"0009,01:NOBODY"[1]::DOUBLE')
    assert sorted(numbers.fetchall()) == [(1.5,), (2.0,)]
    assert view.to_arrow_table().num_rows == rows
    schema = {name: kind for path in paths for name, kind in pl.read_parquet_schema(path).items()}
    assert len(pl.scan_parquet(paths, schema=schema, missing_columns="insert").collect()) == rows
    unified = pa.unify_schemas([pq.read_schema(path) for path in paths])
    assert ds.dataset(paths, schema=unified).to_table().num_rows == rows


def test_the_block_does_not_decide_a_private_elements_type():
    """A creator's element has one type in every block, also where the dictionary tells its blocks apart."""
    kinds = []
    for blocks in ((), ("OTHER",)):
        sources = [make.image(i) for i in (1, 2)]
        for i, source in enumerate(sources):
            for creator in (*blocks, "ELSCINT1"):
                source.private_block(0x01F1, creator, create=True).add_new(0x0C, "DS", [i, 1])
        kinds.append(in_file(series(*sources)).schema.field("01f1,0c:ELSCINT1").type)
    assert kinds[0] == kinds[1]


ODD = [
    (0x00180060, "DS", b"1.#QNA", None),
    (0x00180060, "DS", b"1,5", None),
    (0x00180060, "DS", b"1\\2", None),
    (0x00181153, "IS", b"1.0", 1),
    (0x00181153, "IS", b"99999999999", None),
    (0x00181153, "IS", b"1\\2", None),
    (0x00081161, "UL", b"\x01\0\0\0\xff\xff\xff\xff", [1, 2**32 - 1]),
    (0x00080020, "DA", b"in the spring", "in the spring"),
    (0x0008103E, "LO", b"T2\\AX", "T2\\AX"),
    (0x0008103E, "LO", b"\\AX\\", "\\AX\\"),
    (0x00180060, "LO", b"120", None),
    (0x00180060, "IS", b"120", 120.0),
    (0x00180060, "US", b"\x78\0", 120.0),
    (0x00180060, "OB", b"\x78\0", None),
    (0x00181153, "DS", b"1.5", None),
    (0x00181153, "US", b"\x78\0", 120),
    (0x00089459, "DS", b"0.25", 0.25),
    (0x00089459, "DS", b"0.1", pytest.approx(0.1)),
    (0x0008103E, "ST", b"a\\b", "a\\b"),
    (0x0008103E, "US", b"\x01\0", None),
    (0x00180086, "IS", b"1\\\\3", [1, None, 3]),
    (0x00180086, "IS", b"1\\x", None),
    (0x00282000, "US", b"\x01\0", None),
    (0x00081140, "UT", b"text", None),
]


@pytest.mark.parametrize(("tag", "vr", "raw", "cell"), ODD)
@pytest.mark.parametrize("others", ["none", "alike", "usual"])
def test_what_does_not_fit_changes_no_type_and_is_not_lost(tag, vr, raw, cell, others):
    """A value that its column cannot hold leaves the cell empty and the type as ever; the header has it."""
    usual = {
        0x00180060: ("DS", b"80"),
        0x00181153: ("IS", b"80"),
        0x00081161: ("UL", b"\x03\0\0\0"),
        0x00080020: ("DA", b"20200101"),
        0x0008103E: ("LO", b"T1"),
        0x00089459: ("FL", b"\0\0\x80\x3f"),
        0x00180086: ("IS", b"1"),
        0x00282000: ("OB", b"\x01\0"),
        0x00081140: ("SQ", b""),
    }[tag]
    objects = {"odd": with_raw(1, tag, vr, raw)}
    if others == "alike":
        objects["other"] = with_raw(2, tag, vr, raw.replace(b"1", b"2"))
    if others == "usual":
        objects |= {f"other{i}": with_raw(i, tag, *usual) for i in (2, 3)}
    key = f"{tag >> 16:04X},{tag & 0xFFFF:04X}".encode()
    table = in_file(objects)
    well = in_file({f"{i}": with_raw(i, tag, usual[0], usual[1].replace(b"8", b"%d" % i)) for i in (2, 3)})
    well_types = {field.name: field.type for field in well.schema}
    for field in table.schema:
        assert well_types.get(field.name, field.type) == field.type
        if field.metadata[b"tag"] == key:
            assert not pa.types.is_dictionary(field.type)
            assert by_file(table, field.name)["odd"] == cell
    records = {record.name: record.elements for record in records_of(objects)}
    again = index_of(objects)
    assert {record.name: record.elements for record in again.records()} == records
    kept = next(record for record in again.records() if record.name == "odd").elements[tag]
    assert str(kept.value) == str(records["odd"][tag].value)


def test_constants_are_columns_of_the_file():
    """A public element that all objects have with one value is a column too, of its usual type."""
    same = [make.image(i, Manufacturer="A", KVP=120, SoftwareVersions="1") for i in (1, 2)]
    other = [make.image(i, Manufacturer=f"B{i}", KVP=100 + i, SoftwareVersions=["1", "2"]) for i in (1, 2)]
    constant, varying = in_file(series(*same)), in_file(series(*other))
    assert (
        constant.select(["Manufacturer", "KVP", "SoftwareVersions"]).to_pylist()
        == [{"Manufacturer": "A", "KVP": 120.0, "SoftwareVersions": ["1"]}] * 2
    )
    for name in ("Manufacturer", "KVP", "SoftwareVersions"):
        assert constant.schema.field(name).equals(varying.schema.field(name), check_metadata=True)
    # In memory they stand once, as in the metadata.
    read = index_of(series(*same))
    assert "Manufacturer" not in read.table.column_names
    assert read.whole.equals(constant)


def test_constants_of_many_rows_take_no_room():
    """The column of a constant has one value in memory for each of a thousand rows, and once in the file."""
    groups = [make.position_group(0, 0, z) for z in range(3000)]
    text = "x" * 60
    objects = series(make.enhanced(groups, make.orientation_group(), SeriesDescription=text))
    index = index_of(objects)
    column = index.whole["SeriesDescription"]
    assert column.to_pylist() == [text] * 3000
    assert column.get_total_buffer_size() < 1100 * 70
    assert index.to_parquet().count(text.encode()) <= 5


def test_a_long_constant_is_no_column():
    """A vector with a number for each frame, or a long text, is not repeated in every row."""
    groups = [make.position_group(0, 0, z) for z in range(200)]
    long = {"FrameTimeVector": list(range(200)), "SeriesDescription": "short"}
    source = make.enhanced(groups, make.orientation_group(), **long)
    make.add(source, 0x00081195, "UT", "text " * 300)
    index = index_of(series(source))
    tags = {field.metadata[b"tag"] for field in index.whole.schema}
    assert b"0008,103E" in tags
    assert not tags & {b"0018,1065", b"0008,1195"}
    assert {0x00181065, 0x00081195} <= index.constants.keys()


def test_binary_constants_and_private_ones():
    """Binary constants are sizes and hashes; private ones and sequences stand in the metadata alone."""
    sources = []
    for number in (1, 2):
        source = make.add(make.image(number), 0x00282000, "OB", b"profile!")
        make.add(source, 0x00400555, "SQ", [make.dataset(CodeValue="1")])
        source.private_block(0x0019, "MAKER", create=True).add_new(8, "LO", "private")
        sources.append(source)
    table = in_file(series(*sources))
    assert table["ICCProfile_Size"].to_pylist() == [8, 8]
    assert not [
        name for name in table.column_names if name.endswith((":MAKER", "AcquisitionContextSequence"))
    ]
    constants = json.loads(table.schema.metadata[b"dicom_series_preview.constant_elements"])
    assert {"00191008", "00400555", "00282000"} <= constants.keys()


def test_overlay_planes_are_named_by_their_group():
    """The column of an overlay plane is called the same in every index, whichever planes a series has."""
    groups = {"both": (0x6000, 0x6002), "second": (0x6002,)}
    for varies in (True, False):
        for chosen in groups.values():
            sources = [make.image(i) for i in (1, 2)]
            for source in sources:
                for group in chosen:
                    make.add(source, group << 16 | 0x10, "US", group + varies * int(source.InstanceNumber))
            table = in_file(series(*sources))
            assert table["OverlayRows_60020010"].to_pylist()[0] in (0x6002, 0x6003, 0x6004)
            assert ("OverlayRows" in table.column_names) == (0x6000 in chosen)


def test_no_type_is_another_way_to_say_the_same():
    """Text is Utf8 and a list is a list: no dictionaries, no large types, which other readers do not join."""
    for field in in_file(series(make.image(1, KVP=1), make.image(2, KVP=2))).schema:
        kind = field.type.value_type if pa.types.is_list(field.type) else field.type
        assert kind in {INT, LONG, REAL, TEXT, pa.uint32(), pa.float32()}


@pytest.fixture(scope="module")
def indices(real_data, tmp_path_factory):
    """The index files of all series, in one folder."""
    folder = tmp_path_factory.mktemp("indices")
    for place in sorted((real_data / "series").iterdir()):
        table = build(readable_records(place)[0], replace(PROVENANCE, series=place.name))
        (folder / f"{place.name}_index.parquet").write_bytes(Index(table).to_parquet())
    return folder


@pytest.mark.real_data
def test_every_column_of_real_indices_has_one_type(real_data, indices):
    """A column of one name has one type in all indices, those of single and of malformed files among them."""
    tables = [pq.read_schema(path) for path in sorted(indices.iterdir())]
    for place in [*sorted((real_data / "single").iterdir()), real_data / "malformed"]:
        data = Index(build(readable_records(place)[0], PROVENANCE)).to_parquet()
        tables.append(pq.read_schema(pa.BufferReader(data)))
    types = {}
    for schema in tables:
        for field in schema:
            types.setdefault(field.name, set()).add(field.type)
    assert len(types) > 1000
    assert {name: kinds for name, kinds in types.items() if len(kinds) > 1} == {}
    assert pa.unify_schemas(tables)
    fixed = {column.name for column in FIXED_COLUMNS}
    for schema in tables:
        for field in schema:
            vr = field.metadata[b"vr"].decode()
            if field.name not in fixed and vr and vr not in BULK_VRS:
                kind = plain(field.type)
                value = kind.value_type if pa.types.is_list(kind) else kind
                if value != TYPES.get(vr, TEXT):
                    # An object wrote another VR than the dictionary has; the values are in its column's type.
                    assert vr in INTEGER_VRS | REAL_VRS, field


SLICES = """SELECT Modality, count(*) FROM slices WHERE Stack IS NOT NULL GROUP BY Modality ORDER BY 1"""
SPACING = """
    SELECT Manufacturer, round(median(PixelSpacing[1]), 6) FROM slices
    WHERE PixelSpacing IS NOT NULL GROUP BY Manufacturer ORDER BY 1
"""
ECHOES = """
    SELECT SeriesUID FROM slices GROUP BY SeriesUID HAVING count(DISTINCT EchoTime) > 1 ORDER BY 1
"""


def by_duckdb(folder):
    """The answers by SQL."""
    with duckdb.connect() as connection:
        files = str(folder / "*.parquet")
        connection.execute(f"CREATE VIEW slices AS FROM read_parquet('{files}', union_by_name=true)")
        return [connection.execute(question).fetchall() for question in (SLICES, SPACING, ECHOES)]


def by_polars(folder):
    """The answers by Polars."""
    schema = {}
    for path in sorted(folder.glob("*.parquet")):
        schema |= pl.read_parquet_schema(path)
    slices = pl.scan_parquet(folder / "*.parquet", schema=schema, missing_columns="insert")
    count = slices.filter(pl.col("Stack").is_not_null()).group_by("Modality").len()
    spaced = slices.filter(pl.col("PixelSpacing").is_not_null()).group_by("Manufacturer")
    median = spaced.agg(pl.col("PixelSpacing").list.first().median().round(6))
    several = slices.group_by("SeriesUID").agg(pl.col("EchoTime").drop_nulls().n_unique() > 1)
    several = several.filter("EchoTime").select("SeriesUID")
    return [answer.collect().rows() for answer in (count, median, several)]


def by_pyarrow(folder):
    """The answers by a dataset of pyarrow."""
    schema = pa.unify_schemas([pq.read_schema(path) for path in sorted(folder.glob("*.parquet"))])
    names = ["SeriesUID", "Modality", "Manufacturer", "Stack", "PixelSpacing", "EchoTime"]
    slices = ds.dataset(folder, schema=schema).to_table(columns=names)
    count = slices.filter(pc.is_valid(slices["Stack"])).group_by("Modality").aggregate([([], "count_all")])
    spaced = slices.filter(pc.is_valid(slices["PixelSpacing"]))
    rows = pc.list_element(spaced["PixelSpacing"], 0)
    makers = {}
    for maker, row in zip(spaced["Manufacturer"].to_pylist(), rows.to_pylist(), strict=True):
        makers.setdefault(maker, []).append(row)
    medians = [(maker, round(statistics.median(found), 6)) for maker, found in makers.items()]
    echoes = slices.group_by("SeriesUID").aggregate([("EchoTime", "count_distinct")])
    several = echoes.filter(pc.greater(echoes["EchoTime_count_distinct"], 1))
    return [
        list(zip(*count.to_pydict().values(), strict=True)),
        medians,
        [(series,) for series in several["SeriesUID"].to_pylist()],
    ]


@pytest.mark.real_data
def test_three_readers_give_three_answers_alike(real_data, indices):
    """DuckDB, Polars and pyarrow read all indices as one table, and agree with the files themselves."""
    counts, spacings, echoes = Counter(), {}, {}
    for place in sorted((real_data / "series").iterdir()):
        for record in readable_records(place)[0]:
            for frame in record.frames():
                counts[record.text(MODALITY)] += bool(record.number_of_frames)
                spacing = frame.get(PIXEL_SPACING)
                if spacing is not None and spacing.value:
                    spacings.setdefault(record.text(MANUFACTURER) or None, []).append(spacing.value[0])
            echoes.setdefault(place.name, set()).add(record.text(ECHO_TIME))
    expected = [
        sorted(counts.items()),
        sorted((maker, round(statistics.median(found), 6)) for maker, found in spacings.items()),
        sorted((name,) for name, times in echoes.items() if len(times - {""}) > 1),
    ]
    for reader in (by_duckdb, by_polars, by_pyarrow):
        assert [sorted(answer) for answer in reader(indices)] == expected, reader
    assert len(expected[0]) == 3
    assert len(expected[1]) > 5
    assert expected[2]


@pytest.mark.real_data
def test_no_column_is_empty_because_its_value_does_not_vary(real_data, indices):
    """Every public value of every header is in a column of its series' index, or said to be kept apart."""
    for place in sorted((real_data / "series").iterdir()):
        table = pq.read_table(indices / f"{place.name}_index.parquet")
        tags = {field.metadata[b"tag"].decode() for field in table.schema}
        for record in readable_records(place)[0]:
            for tag, element in record.elements.items():
                is_constant_sequence = element.vr == "SQ"
                if element.value and not tag >> 16 & 1 and not is_constant_sequence:
                    assert f"{tag >> 16:04X},{tag & 0xFFFF:04X}" in tags, (place.name, element)
