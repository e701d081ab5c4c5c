import json

import pytest

import doubles
import make_dicom
from batching import ID, SECRET, Setting, failing, slices
from dicom_series_preview.base import errors
from dicom_series_preview.products.batches.item import give_up, run_item


def test_an_item_that_succeeds(setting: Setting) -> None:
    """Index and mosaic are written; the outcome says where and what it took, and is kept."""
    outcome = setting.run("a", tile_width=["1"], tile_height=["2"], contrast=["lung"])
    assert outcome == setting.outcomes()["a"]
    # One listing, and two slices, whose frames come with their headers.
    assert (outcome["status"], outcome["slices"], outcome["requests"]) == ("ok", 2, 3)
    assert outcome["index_source"] == "built"
    assert setting.data.get(outcome["picture"]).data[8:12] == b"WEBP"
    kept = [info.path.rpartition("/")[2] for info in setting.data.list_objects("indices")]
    assert kept == ["a_index.parquet"]
    assert setting.run("a")["index_source"] == "cache"


def test_a_series_below_another_root(setting: Setting) -> None:
    """The item's root is where its series is looked for."""
    assert setting.run("c", "other")["status"] == "ok"
    assert setting.run("c")["error"] == "SeriesNotFoundError"


@pytest.mark.parametrize(
    ("series", "root", "mosaic", "error"),
    [
        ("none", "default", {}, "SeriesNotFoundError"),
        ("notes", "default", {}, "NoImageError"),
        ("film", "default", {}, "UndecodableError"),
        ("a", "nowhere", {}, "RequestError"),
        ("a", "default", {"stack": ["7"]}, "RequestError"),
        ("a", "default", {"tile_width": ["0"], "x": ["1"]}, "CombinedRequestError"),
        ("a", "default", {"tile_width": ["999"]}, "LimitError"),
        ("../a", "default", {}, "SeriesNameError"),
        ("s3://archive/a", "default", {}, "SeriesNameError"),
        ("/a", "default", {}, "SeriesNameError"),
        ("a\0b", "default", {}, "SeriesNameError"),
        ("", "default", {}, "SeriesNameError"),
    ],
)
def test_a_series_without_a_preview_is_an_outcome(
    series: str, root: str, mosaic: dict[str, list[str]], error: str
) -> None:
    """What another try would not change is an outcome with kind and reason; nothing is raised."""
    film = make_dicom.image(1, PixelData=make_dicom.encapsulate([[b"no film!"]]))
    objects = {"notes/x": b"no DICOM", "film/1.dcm": make_dicom.encode(film, "1.2.840.10008.1.2.4.100")}
    setting = Setting({**slices("a"), **objects})
    outcome = setting.run(series, root, **mosaic)
    assert outcome == setting.outcomes()[series]
    assert (outcome["status"], outcome["error"], outcome["root"]) == ("no-preview", error, root)
    assert outcome["reason"]
    assert SECRET not in json.dumps(outcome)


def test_access_denied_to_a_series_is_an_outcome(setting: Setting) -> None:
    """A series that may not be read is one of those without a preview."""
    failing(setting, "s3://archive").error = errors.AccessDeniedError("s3://archive/a")
    outcome = setting.run("a")
    assert (outcome["status"], outcome["error"]) == ("no-preview", "AccessDeniedError")


@pytest.mark.parametrize(
    "error",
    [
        errors.StorageUnavailableError("s3://archive/a", "throttled"),
        errors.ObjectChangedError("s3://archive/a"),
        errors.CredentialsError("s3://archive/a", "expired"),
        errors.IndexBusyError("a", "s3://archive", 5),
    ],
)
def test_what_may_pass_is_raised_and_overwritten(setting: Setting, error: errors.PreviewError) -> None:
    """The map hears of what may pass, and tries again; the last outcome stays."""
    storage = failing(setting, "s3://archive")
    storage.error = error
    with pytest.raises(type(error)):
        setting.run("a")
    failed = setting.outcomes()["a"]
    assert (failed["status"], failed["error"]) == ("failed", type(error).__name__)
    storage.error = None
    assert setting.run("a")["status"] == "ok"
    assert setting.outcomes()["a"]["status"] == "ok"


def test_a_data_bucket_that_is_closed_is_no_fault_of_the_series(setting: Setting) -> None:
    """What the deployment's own bucket refuses is raised, whatever its kind."""
    closed = doubles.refusing(errors.AccessDeniedError("s3://data"), lambda path: path.startswith("indices/"))
    setting.deployment._opened["s3://data"] = doubles.Before(setting.data, put=closed)
    with pytest.raises(errors.AccessDeniedError):
        setting.run("a")
    assert setting.outcomes()["a"]["status"] == "failed"


def test_a_series_that_takes_too_long_fails_and_is_not_tried_again_at_once(setting: Setting) -> None:
    """A series for which the time is too short has failed: another time the storage may be faster."""
    item = {"root": "default", "series": "a", "mosaic": {}}
    outcome = run_item(ID, item, setting.host, seconds=0.0)
    assert (outcome["status"], outcome["error"]) == ("failed", "LimitError")


def test_what_dies_fails_after_the_last_try(setting: Setting) -> None:
    """A function that has died leaves no outcome; the machine has one written that names how it died."""
    item = {"root": "other", "series": SECRET, "mosaic": {}}
    written = give_up(ID, item, "Sandbox.Timedout", setting.host)
    assert written == setting.outcomes()[SECRET]
    assert (written["status"], written["error"], written["root"]) == ("failed", "Sandbox.Timedout", "other")
    assert SECRET not in written["reason"]


def test_what_is_known_of_a_failure_stays(setting: Setting) -> None:
    """What the last try has written itself says more, and what is settled is never given up."""
    item = {"root": "default", "series": "a", "mosaic": {}}
    storage = failing(setting, "s3://archive")
    storage.error = errors.StorageUnavailableError("s3://archive/a", "throttled")
    with pytest.raises(errors.StorageUnavailableError):
        setting.run("a")
    told = give_up(ID, item, "StorageUnavailableError", setting.host)
    assert told["reason"] == "throttled"
    assert give_up(ID, item, "Runtime.ExitError", setting.host)["error"] == "Runtime.ExitError"
    storage.error = None
    setting.run("a")
    assert give_up(ID, item, "Lambda.Unknown", setting.host)["status"] == "ok"
    assert setting.outcomes()["a"]["status"] == "ok"
