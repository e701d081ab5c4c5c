from dataclasses import replace

import pydicom
import pytest
from pydicom.filebase import DicomBytesIO

import make_dicom as make
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.records import Skipped
from dicom_series_preview.sources.headers.elements import BULK_VRS
from indexing import PROVENANCE, index_of, readable_records, series


def test_headers_are_data_sets():
    """A row's header is the data set of its object, binary values and pixels aside."""
    objects = series(make.image(1, PatientName="A^B"), make.image(2, PatientName="A^B"))
    index = index_of(objects)
    for row, name in enumerate(index.table["FileName"].to_pylist()):
        expected = pydicom.dcmread(DicomBytesIO(objects[name]))
        del expected.PixelData
        assert index.header(row) == expected
        assert index.header(row).file_meta.TransferSyntaxUID == make.EXPLICIT


def test_provenance_survives():
    """What an index says of itself survives the file."""
    said = replace(PROVENANCE, limit=3, skipped=(Skipped("x", "not DICOM: text", None, ""),), notes=("n",))
    assert index_of(series(make.image()), said).provenance == replace(said, series_instance_uids=1)


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
