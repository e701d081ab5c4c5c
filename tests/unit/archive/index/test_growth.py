"""What an index costs grows with its slices, and no faster: counted in calls, which time does not blur."""

import pytest

import make_dicom as make
from counting_calls import calls
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.records import Record
from dicom_series_preview.sources.headers.convert import Converter
from indexing import PROVENANCE, header_of, records_of

# Four times the slices; what is done once an index, or once a kind of header, makes it less.
TIMES, AT_MOST = 4, 4.2


def images(count):
    """A series of single images."""
    return {f"{i:05}": make.encode(make.image(i + 1)) for i in range(count)}


def frames(count):
    """One object of many frames."""
    groups = [make.position_group(0, 0, z) for z in range(count)]
    return {"enhanced": make.encode(make.enhanced(groups, make.orientation_group()))}


def objects_of_frames(count):
    """Several objects of several frames."""
    made = {}
    for i in range(count // 20):
        groups = [make.position_group(0, 0, 20 * i + z) for z in range(20)]
        source = make.enhanced(groups, make.orientation_group(), SOPInstanceUID=f"1.2.{i}", InstanceNumber=i)
        made[f"{i:05}"] = make.encode(source)
    return made


def radial(count):
    """A series in which every image has an orientation of its own."""
    cosines = [(1.0, i / 100, 0.0, 0.0, 0.0, -1.0) for i in range(count)]
    return {
        f"{i:05}": make.encode(make.image(i + 1, ImageOrientationPatient=list(each)))
        for i, each in enumerate(cosines)
    }


KINDS = pytest.mark.parametrize("made", [images, frames, objects_of_frames, radial])


def read(objects):
    """Read headers as a series' are."""
    converter = Converter()
    return [Record.of(name, "v", header_of(data, converter)) for name, data in objects.items()]


def opened(data):
    """What a picture needs of a kept index, and what an update does."""
    index = Index.from_parquet(data)
    for number in index.stacks:
        index.sorted_stack(number)
    index.slices([int(row) for rows in index.stacks.values() for row in rows])
    return index.records()


@KINDS
@pytest.mark.parametrize("step", ["read", "build", "open"])
def test_work_grows_with_the_slices(made, step):
    """Reading headers, building an index and opening it cost no more than in proportion to the slices."""
    counted = []
    for count in (100, 100 * TIMES):
        objects = made(count)
        if step == "read":
            counted.append(calls(lambda objects=objects: read(objects)).total())
            continue
        records = records_of(objects)
        if step == "build":
            counted.append(calls(lambda records=records: build(records, PROVENANCE)).total())
        else:
            data = Index(build(records, PROVENANCE)).to_parquet()
            counted.append(calls(lambda data=data: opened(data)).total())
    assert counted[1] <= AT_MOST * counted[0]


MORE = {
    "WindowCenter": [40.0, 300.0],
    "WindowWidth": [400.0, 1500.0],
    "VOILUTFunction": "LINEAR",
    "PixelPaddingValue": 0,
    "BodyPartExamined": "CHEST",
}


def test_what_slices_share_is_looked_at_once():
    """An element with one value in all slices costs a build the same, however many slices there are."""

    def work(count, more):
        records = records_of({f"{i:05}": make.encode(make.image(i + 1, **more)) for i in range(count)})
        return calls(lambda: build(records, PROVENANCE)).total()

    work(1, MORE)  # what is done once a process is done
    few, many = (work(count, MORE) - work(count, {}) for count in (100, 400))
    assert abs(many - few) <= 2 * len(MORE)
