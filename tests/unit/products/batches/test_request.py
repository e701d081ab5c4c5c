from typing import Any

import pytest

from batching import EARLIER, Setting
from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.products.batches.request import BatchRequest


def wrong(document: Any) -> list[str]:
    """The parameters that a request's errors name."""
    with pytest.raises(RequestError) as caught:
        BatchRequest.from_document(document, Setting().host)
    return sorted(one.parameter for one in getattr(caught.value, "errors", (caught.value,)))


@pytest.mark.parametrize(
    ("document", "parameters"),
    [
        (None, ["body"]),
        ([], ["body"]),
        ("series", ["body"]),
        ({}, ["body"]),
        ({"series": ["a"], "prefix": ""}, ["body"]),
        ({"series": []}, ["series"]),
        ({"series": ""}, ["series"]),
        ({"series": 0}, ["series"]),
        ({"series": False}, ["series"]),
        ({"series": {}}, ["series"]),
        ({"series": "a"}, ["series"]),
        ({"series": ["a", 7]}, ["series"]),
        ({"series": ["a", "../b", "s3://other/c", "/etc/passwd", ""]}, ["series"] * 4),
        ({"series": ["a"] * 1001}, ["series"]),
        ({"series": ["a", "\ud800x"]}, ["series"]),
        ({"prefix": "\ud800x"}, ["prefix"]),
        ({"manifest": "s3://lists/\ud800.json"}, ["manifest"]),
        ({"prefix": 7}, ["prefix"]),
        ({"prefix": None, "series": ["a"]}, ["prefix"]),
        ({"manifest": "https://x/y.csv"}, ["manifest"]),
        ({"manifest": "s3://x.json"}, ["manifest"]),
        ({"manifest": ""}, ["manifest"]),
        ({"rerun": "today"}, ["rerun"]),
        ({"rerun": f"../{EARLIER}"}, ["rerun"]),
        ({"rerun": EARLIER, "root": "other", "mosaic": {}}, ["mosaic", "root"]),
        ({"rerun": EARLIER, "catalogue": True}, ["catalogue"]),
        ({"series": ["a"], "catalogue": "yes"}, ["catalogue"]),
        ({"series": ["a"], "catalogue": True, "mosaic": {"tile_width": 2}}, ["catalogue"]),
        ({"rerun": EARLIER, "no_preview": "yes"}, ["no_preview"]),
        ({"rerun": EARLIER, "refused": 1}, ["refused"]),
        ({"series": ["a"], "refused": True}, ["refused"]),
        ({"series": ["a"], "kind": "paint"}, ["kind"]),
        ({"series": ["a"], "to": "zarr"}, ["to"]),
        ({"rerun": EARLIER, "kind": "convert"}, ["kind"]),
        ({"series": ["a"], "kind": "convert", "mosaic": {"tile_width": 2}}, ["mosaic"]),
        ({"series": ["a"], "kind": "convert", "catalogue": True}, ["catalogue"]),
        ({"series": ["a"], "kind": "convert", "to": "png", "clevel": 10, "x": 1}, ["clevel", "to", "x"]),
        ({"series": ["a"], "kind": "convert", "chunks": "32,64"}, ["chunks"]),
        ({"series": ["a"], "no_preview": True}, ["no_preview"]),
        ({"series": ["a"], "root": "nowhere"}, ["root"]),
        ({"series": ["a"], "root": "s3://archive"}, ["root"]),
        ({"series": ["a"], "root": None}, ["root"]),
        ({"series": ["a"], "mosaic": []}, ["mosaic"]),
        ({"series": ["a"], "mosaic": {"tile_width": 0, "start": 2, "x": 1}}, ["start", "tile_width", "x"]),
        ({"series": ["a"], "mosaic": {"contrast": ["lung", "bone"]}}, ["contrast"]),
        ({"series": ["a"], "mosaic": {"root": "other"}}, ["root"]),
        ({"series": 7, "root": 7, "x": 7, "mosaic": 7}, ["mosaic", "root", "series", "x"]),
    ],
)
def test_what_is_wrong_is_named(document: Any, parameters: list[str]) -> None:
    """Everything that is wrong with a request is named at once."""
    assert wrong(document) == parameters
