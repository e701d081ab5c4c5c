import pytest

import doubles
from batching import ID, Failing, Setting
from dicom_series_preview.base.errors import AccessDeniedError, RequestError, StorageUnavailableError
from dicom_series_preview.products.batches.summary import summarise


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("x.csv", b"series\na\nb\n", ["a", "b"]),
        ("x.csv", "\ufeffseries\r\na\r\n".encode(), ["a"]),
        ("x.csv", b'note,series\n"x, y","b, c"\n,\n\nlast,d', ["b, c", "d"]),
        ("x.txt", "series\nSchädel 1\n".encode(), ["Schädel 1"]),
        ("x.json", b'["a", {"series": "b", "n": 1}, "a", ""]', ["a", "b"]),
        ("x.JSON", '\ufeff["ä"]'.encode(), ["ä"]),
    ],
)
def test_manifests(name: str, content: bytes, names: list[str]) -> None:
    """A CSV with a column `series` or a JSON array, with or without a byte order mark."""
    assert Setting().manifest(name, content) == names


def test_half_a_character_in_a_manifest_takes_no_other_series_along(setting: Setting) -> None:
    """A name with a lone surrogate has no preview; the others have theirs, and the batch its summary."""
    for name in setting.manifest("x.json", b'["a", "\\ud800x", "\\ud83d\\ude00"]'):
        setting.run(name)
    assert [(outcome["series"], outcome["status"]) for outcome in setting.outcomes().values()] == [
        ("a", "ok"),
        ("\ufffdx", "no-preview"),
        ("\N{GRINNING FACE}", "no-preview"),
    ]
    summary = summarise(ID, setting.host.data)
    assert (summary.ok, summary.no_preview, summary.missing) == (1, 2, 0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", b"uid\na\n"),
        ("x.csv", b""),
        ("x.csv", b"series\n"),
        ("x.csv", b"series\n\xff\xfe\n"),
        ("x.csv", b"series\n" + b"x" * 200_000),
        ("x.json", b"{"),
        ("x.json", b'{"series": ["a"]}'),
        ("x.json", b"[7]"),
        ("x.json", b'[{"uid": "a"}]'),
        ("x.json", b'[{"series": 7}]'),
        ("x.json", b"[]"),
        ("x.json", b"null"),
    ],
)
def test_manifests_that_are_none(name: str, content: bytes) -> None:
    """What is no manifest, or names nothing, is the request's fault."""
    with pytest.raises(RequestError):
        Setting().manifest(name, content)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.csv", b"uid\na\n", "no CSV with a column series"),
        ("x.csv", b"", "no CSV with a column series|names no series"),
        ("x.csv", b"series\n", "names no series"),
        ("x.csv", b"uid\n" + b"a\n" * 50_000, "no CSV with a column series"),
        ("x.csv", "uid\n".encode("utf-16") + b"a\0" * 50_000, "no CSV with a column series"),
        ("x.json", b'{"series": ["a"]}', "no JSON array"),
        ("x.json", b'{"series": [' + b'"a",' * 50_000, "no JSON array"),
        ("x.json", b"[]", "names no series"),
        ("x.json", b"[" * 50_000, "no JSON array"),
        ("none.csv", None, "cannot be read: not found"),
        ("../x.csv", None, "cannot be read"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused_at_once(
    setting: Setting, name: str, content: bytes | None, problem: str
) -> None:
    """What can be seen of a manifest in its first bytes is said before a batch is started."""
    if content is not None:
        setting.manifests.put(name, content)
    with pytest.raises(RequestError, match=problem) as caught:
        setting.check(manifest=f"s3://lists/{name}")
    assert caught.value.parameter == "manifest"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", b"series\na\n"),
        ("x.csv", "\ufeffnote,series\n".encode() + b"x,a\n" * 50_000),
        # The first bytes end within a letter.
        ("x.csv", b"series,x\n" + "ä".encode() * 100_000),
        ("x.json", b'["a"]'),
        ("x.json", b' [\n"' + b"a" * 100_000 + b'"]'),
    ],
)
def test_a_manifest_is_looked_at_for_one_request(setting: Setting, name: str, content: bytes) -> None:
    """A manifest that may be one costs 64 KiB of one GET, however long it is."""
    setting.manifests.put(name, content)
    counted = doubles.CountingStorage(setting.manifests)
    setting.deployment._opened["s3://lists"] = counted
    setting.check(manifest=f"s3://lists/{name}")
    assert len(counted.ranges) == 1
    assert counted.received <= 64 * 1024


def test_a_manifest_that_may_not_be_read_says_what_may(setting: Setting) -> None:
    """Where a manifest's bucket is closed to the deployment, the error says which ones are open.

    S3 answers the same for what is not there, to who may not list.
    """
    closed = setting.deployment._opened["s3://lists"] = Failing(setting.manifests)
    closed.error = AccessDeniedError("s3://lists/x.csv")
    said = r"access denied, or it is not there.*manifests/.*below DicomPrefix.*ManifestBucketArns"
    with pytest.raises(RequestError, match=said):
        setting.check(manifest="s3://lists/x.csv")
    closed.error = StorageUnavailableError("s3://lists/x.csv", "throttled")
    with pytest.raises(StorageUnavailableError):
        setting.check(manifest="s3://lists/x.csv")
