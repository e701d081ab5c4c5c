from dataclasses import replace

import numpy as np
import pytest

import make_dicom as make
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.sources.headers.dicom_json import to_json
from dicom_series_preview.sources.headers.elements import BULK_VRS
from indexing import PROVENANCE, index_of, readable_records, records_of, series, some_series


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


def test_records_can_be_asked_for_by_name():
    """Some objects' records cost no others'."""
    index = index_of(series(*some_series()))
    assert [record.name for record in index.records(["003.dcm"])] == ["003.dcm"]
    assert index.records([]) == []
    assert index.records(["no such"]) == []


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
