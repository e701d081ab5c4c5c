from dataclasses import replace
from typing import Any

import pytest

from batching import EARLIER, ID, Setting, slices
from dicom_series_preview.base.errors import LimitError, RequestError
from dicom_series_preview.products.batches.documents import keep_request
from dicom_series_preview.products.batches.item import give_up, run_item
from dicom_series_preview.products.batches.prepare import prepare
from dicom_series_preview.products.batches.summary import summarise


def test_series_one_by_one() -> None:
    """Each series once, in order, with the batch's root and options as requests are built from."""
    items = Setting().prepare(
        {
            "series": ["b", "a", "b"],
            "root": "other",
            "mosaic": {"tile_width": 2, "contrast": ["lung"], "start": 0.5},
        }
    )
    mosaic = {"tile_width": ["2"], "contrast": ["lung"], "start": ["0.5"]}
    assert items == [{"root": "other", "series": name, "mosaic": mosaic} for name in "ba"]


def test_half_a_character_in_an_earlier_batch_takes_no_other_series_along() -> None:
    """Lists and requests of batches that were made before such names were refused are done like others."""
    setting = Setting()
    named = ["a", "\ud800x"]
    items = [{"root": "default", "series": name, "mosaic": {}} for name in named]
    expected = [("a", "ok"), ("\ufffdx", "no-preview")]
    # One that was under way, whose map has read its list already.
    setting.keep("items.json", items)
    for item in items:
        run_item(ID, item, setting.host)
        outcome = give_up(ID, item, "Sandbox.Timedout", setting.host)
        assert (outcome["series"], outcome["status"]) in expected
    assert [(outcome["series"], outcome["status"]) for outcome in setting.outcomes().values()] == expected
    summary = summarise(ID, setting.host.data)
    assert (summary.ok, summary.no_preview, summary.missing) == (1, 1, 0)
    # One that ended with its list, and one that ended before: both are done again.
    for kept in (
        {"request.json": {"series": named}, "items.json": items},
        {"request.json": {"series": named}},
    ):
        setting = Setting()
        for name, document in kept.items():
            setting.keep(name, document, EARLIER)
        setting.check(rerun=EARLIER)
        assert setting.names({"rerun": EARLIER}) == ["a", "\ufffdx"]
    # One that had been asked for, and whose first step comes now.
    setting = Setting()
    setting.keep("request.json", {"series": named})
    assert prepare(ID, setting.host)["count"] == 2


def test_more_series_than_a_batch_may_have(setting: Setting) -> None:
    """A batch that names too many series fails before any is done, and says how many may be."""
    setting.deployment = replace(setting.deployment, batch_series=2)
    assert setting.names({"series": ["a", "b", "b"]}) == ["a", "b"]
    keep_request(EARLIER, {"series": ["a", "b", "c"]}, setting.host.data)
    with pytest.raises(LimitError, match="names 3 series; the limit is 2"):
        prepare(EARLIER, setting.host)


def test_why_a_batch_could_not_begin_is_kept(setting: Setting) -> None:
    """What stands in the way of a batch's first step is written down for those who ask."""
    keep_request(ID, {"manifest": "s3://lists/gone.csv"}, setting.host.data)
    with pytest.raises(RequestError):
        prepare(ID, setting.host)
    assert setting.kept("failure.json") == {
        "error": "RequestError",
        "reason": "manifest: cannot be read: not found",
    }


def test_a_prefix() -> None:
    """A prefix names the series that begin so, the empty one all; one that matches none is an error."""
    setting = Setting({**slices("a1"), **slices("a2"), **slices("b")})
    assert setting.names({"prefix": "a"}) == ["a1", "a2"]
    assert Setting().names({"prefix": "", "root": "default"}) == ["a", "b"]
    with pytest.raises(RequestError, match="no series"):
        Setting().names({"prefix": "z"})


def test_a_prefix_where_series_lie_deeper() -> None:
    """Folders above the series' depth are no series."""
    objects = {**slices("p1/t1/s1"), **slices("p1/t1/s2"), **slices("p1/t2/s3"), **slices("p2/t3/s4")}

    def names(prefix: str) -> list[str]:
        return Setting(objects, depth=3).names({"prefix": prefix})

    assert names("") == ["p1/t1/s1", "p1/t1/s2", "p1/t2/s3", "p2/t3/s4"]
    assert names("p1") == ["p1/t1/s1", "p1/t1/s2", "p1/t2/s3"]
    assert names("p1/t1/") == ["p1/t1/s1", "p1/t1/s2"]
    assert names("p1/t1/s2") == ["p1/t1/s2"]


def earlier(setting: Setting, names: str, **statuses: str) -> list[dict[str, Any]]:
    """An earlier batch and its outcomes; its items."""
    items = [{"root": "other", "series": name, "mosaic": {"stack": ["1"]}} for name in names]
    setting.keep("request.json", {"series": list(names), "root": "other", "mosaic": {"stack": 1}}, EARLIER)
    setting.keep("items.json", items, EARLIER)
    for number, (name, status) in enumerate(statuses.items()):
        outcome = {"series": name, "status": status.replace("_", "-"), "error": "NoImageError"}
        setting.keep(f"outcomes/aa/{number}.json", outcome, EARLIER)
    return items


def test_a_rerun_does_again_what_may_come_to_something_else() -> None:
    """What failed or is missing is done again as it was; what has no preview only where that is asked for."""
    setting = Setting()
    items = earlier(setting, "abcd", a="ok", b="no_preview", c="failed")
    assert setting.prepare({"rerun": EARLIER}) == items[2:]
    setting = Setting()
    items = earlier(setting, "abcd", a="ok", b="no_preview", c="failed")
    assert setting.prepare({"rerun": EARLIER, "no_preview": True}) == items[1:]


def test_a_rerun_that_finds_nothing_left_is_done(setting: Setting) -> None:
    """When nothing is left, a rerun has no items, and that is no error."""
    earlier(setting, "ab", a="ok", b="no_preview")
    assert setting.prepare({"rerun": EARLIER}) == []


def test_a_rerun_of_a_batch_that_ended_before_it_had_items(setting: Setting) -> None:
    """Of a batch that was cancelled before its series were listed, a rerun does all, through reruns too."""
    first = "0b5a1c2e-7a1d-4c59-9a10-2f6f5c0d9e03"
    setting.keep("request.json", {"series": ["a", "b"], "mosaic": {"stack": 1}}, first)
    setting.keep("request.json", {"rerun": first}, EARLIER)
    assert setting.prepare({"rerun": EARLIER}) == [
        {"root": "default", "series": name, "mosaic": {"stack": ["1"]}} for name in "ab"
    ]


def test_a_rerun_of_no_batch_is_refused_at_once() -> None:
    """There is nothing to do again of a batch that is not there."""
    with pytest.raises(RequestError, match="no such batch") as caught:
        Setting().check(rerun=EARLIER)
    assert caught.value.parameter == "rerun"


def test_items_lie_where_the_map_reads_them() -> None:
    """The key of the items is the whole key in the data bucket."""
    setting = Setting(data="s3://data/below/this")
    keep_request(ID, {"series": ["a"]}, setting.host.data)
    assert prepare(ID, setting.host)["key"] == f"below/this/batches/{ID}/items.json"


def test_items_for_the_catalogue_make_no_mosaics(setting: Setting) -> None:
    """What is only catalogued says so, and has no options of mosaics."""
    items = [{"root": "default", "series": name, "catalogue": True} for name in "ab"]
    assert setting.prepare({"prefix": "", "catalogue": True}) == items
    assert all("catalogue" not in item for item in Setting().prepare({"prefix": "", "catalogue": False}))
