import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest

import make_dicom
import servers
from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.doors.aws.environment import Deployment
from dicom_series_preview.doors.aws.logs import function_logger
from dicom_series_preview.doors.aws.updates import update_indices
from dicom_series_preview.web.http.messages import HttpRequest

ROOTS = json.dumps({"default": "s3://archive", "more": "https://host/dicom"})


def test_what_a_deployment_sets() -> None:
    """Roots, data and depth come from the environment; series lie right below their root in doubt."""
    made = Deployment.from_environment({"PREVIEW_ROOTS": ROOTS, "PREVIEW_DATA": "s3://data"})
    assert (made.roots, made.data, made.series_depth) == (json.loads(ROOTS), "s3://data", 1)
    deeper = {"PREVIEW_ROOTS": ROOTS, "PREVIEW_DATA": "s3://data", "PREVIEW_SERIES_DEPTH": "3"}
    assert Deployment.from_environment(deeper).series_depth == 3


def test_identifiers_are_dropped_unless_it_is_set() -> None:
    """A deployment shows no patients' identifiers, unless whoever deploys it says so."""
    set_up = {"PREVIEW_ROOTS": ROOTS, "PREVIEW_DATA": "s3://data"}
    assert Deployment.from_environment(set_up).settings.identifiers.mode == "drop"
    kept = {**set_up, "DICOM_SERIES_PREVIEW_IDENTIFIERS": "keep"}
    assert Deployment.from_environment(kept).settings.identifiers.mode == "keep"
    with pytest.raises(RequestError, match="DICOM_SERIES_PREVIEW_HASH_KEY"):
        Deployment.from_environment({**set_up, "DICOM_SERIES_PREVIEW_IDENTIFIERS": "hash"})


def test_limits_of_batches() -> None:
    """How many series a batch has, and how many batches run at once, is set where it is not the default."""
    set_up = {"PREVIEW_ROOTS": ROOTS, "PREVIEW_DATA": "s3://data"}
    made = Deployment.from_environment(set_up)
    assert (made.batch_series, made.batches_at_once) == (250_000, 5)
    more = {**set_up, "PREVIEW_BATCH_SERIES": "10", "PREVIEW_BATCHES_AT_ONCE": "2"}
    made = Deployment.from_environment(more)
    assert (made.batch_series, made.batches_at_once) == (10, 2)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "PREVIEW_ROOTS"),
        ({"PREVIEW_ROOTS": ROOTS}, "PREVIEW_DATA"),
        ({"PREVIEW_ROOTS": "x", "PREVIEW_DATA": "s3://data"}, "PREVIEW_ROOTS"),
        ({"PREVIEW_ROOTS": "[]", "PREVIEW_DATA": "s3://data"}, "PREVIEW_ROOTS"),
        ({"PREVIEW_ROOTS": '{"more": "s3://x"}', "PREVIEW_DATA": "s3://data"}, "PREVIEW_ROOTS"),
        *(
            ({"PREVIEW_ROOTS": ROOTS, "PREVIEW_DATA": "s3://data", variable: text}, variable)
            for variable in (
                *("PREVIEW_BATCH_SERIES", "PREVIEW_BATCHES_AT_ONCE"),
                *("PREVIEW_SERIES_DEPTH", "PREVIEW_ANSWER_SECONDS"),
            )
            for text in ("", "0", "-1", "x", "1.5", "nan", "inf", "1" + 27 * "0", 5000 * "9")
        ),
    ],
)
def test_an_environment_that_lacks_something(environment: dict[str, str], named: str) -> None:
    """A function that is set up wrong says which variable it is when it starts."""
    with pytest.raises(RequestError) as caught:
        Deployment.from_environment(environment)
    assert caught.value.parameter == named


@pytest.mark.parametrize(
    ("alias", "root"),
    [
        ("more", '"s3://bucket/a/../b"'),
        ("more", '"s3://b"'),
        ("more", '"s3:///x"'),
        ("more", '"s3://bucket?x=1"'),
        ("more", '"ftp://host/x"'),
        ("more", '"https://user:word@host/x"'),
        ("more", '"https://host/x?q=1"'),
        ("more", '"https://host/#f"'),
        ("more", '"http://host:99999/"'),
        ("more", '"https://[::1/"'),
        ("more", "7"),
        ("MORE", '"s3://bucket"'),
        ("more", '"s3://one", "more": "s3://two"'),
    ],
)
def test_a_root_that_could_never_be_opened_fails_alone(
    alias: str, root: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests of a root that is set up wrong are told so; the others, batches and changes go on without it.

    When the function starts its log tells the alias once, and nothing of the URL, which may hold a secret.
    """
    roots = f'{{"default": "{tmp_path.as_posix()}", "{alias}": {root}}}'
    made = Deployment.from_environment({"PREVIEW_ROOTS": roots, "PREVIEW_DATA": str(tmp_path)})
    (line,) = caplog.messages
    shown = alias if alias.islower() else "an alias that is none"
    assert line == f"the root of {shown} is left out; mend its entry in Roots"
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "1.dcm").write_bytes(make_dicom.encode(make_dicom.image(1)))
    api = made.api()
    assert api.index(HttpRequest("s")).status == 200
    refused = api.index(HttpRequest("s", {"root": [alias]}))
    (problem,) = json.loads(refused.body)["errors"]
    assert (refused.status, problem["parameter"]) == (400, "root")
    assert problem["detail"].startswith(f"{alias} is set up wrong in this deployment")
    key = {"Records": [{"s3": {"bucket": {"name": "bucket"}, "object": {"key": "s/1.dcm"}}}]}
    assert update_indices({"0": json.dumps(key)}, made, lambda: 300.0, None).ignored == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("root", ['"s3://bucket/a//b"', '"s3://one", "default": "s3://two"', "null"])
def test_a_default_root_that_could_never_be_opened(root: str) -> None:
    """Nothing works without the default root, so that the function does not start, and says why."""
    with pytest.raises(RequestError, match="default") as caught:
        Deployment.from_environment({"PREVIEW_ROOTS": f'{{"default": {root}}}', "PREVIEW_DATA": "s3://data"})
    assert caught.value.parameter == "PREVIEW_ROOTS"


def test_public_buckets_are_read_unsigned() -> None:
    """Only buckets that the role may read see its signature: a public one of others refuses it."""
    listing = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    with servers.ScriptedServer(
        [servers.Answer(200, {"Content-Type": "application/xml"}, listing)]
    ) as server:
        roots = {"default": "s3://archive/ct", "ours": "s3://partner/x", "public": "s3://open-data/y"}
        made = Deployment.from_environment(
            {
                "PREVIEW_ROOTS": json.dumps(roots),
                "PREVIEW_DATA": "s3://data",
                "PREVIEW_SIGNED_BUCKETS": "arn:aws:s3:::partner,arn:aws-cn:s3:::other",
                "AWS_ENDPOINT_URL": server.url,
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "wordless",
                "AWS_REGION": "eu-west-1",
            }
        )
        for url in (*roots.values(), "s3://data"):
            made.storage(url).list_objects("series")
        signed = {
            asked.path.split("/")[1].partition("?")[0]: "authorization" in map(str.lower, asked.headers)
            for asked in server.asked
        }
    assert signed == {"archive": True, "partner": True, "open-data": False, "data": True}


def test_regions_are_asked_for_at_the_deployments_own_address() -> None:
    """A private network lets functions reach their own region's S3 only: where a bucket lies is asked there.

    Its own buckets lie there and are not asked for.
    """
    roots = {"default": "s3://archive/ct", "ours": "s3://partner/x", "public": "s3://open-data/y"}
    with servers.ScriptedServer([servers.Answer(502)]) as proxy:
        made = Deployment.from_environment(
            {
                "PREVIEW_ROOTS": json.dumps(roots),
                "PREVIEW_DATA": "s3://data",
                "PREVIEW_SIGNED_BUCKETS": "arn:aws:s3:::partner",
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "wordless",
                "AWS_REGION": "eu-west-1",
                "HTTPS_PROXY": proxy.url,
            }
        )
        asked = {}
        for url in (*roots.values(), "s3://data"):
            before = len(proxy.asked)
            made.storage(url)
            asked[url] = [one.path for one in proxy.asked[before:]]
    there = ["s3.eu-west-1.amazonaws.com:443"]
    assert asked == {
        "s3://archive/ct": [],
        "s3://partner/x": there,
        "s3://open-data/y": there,
        "s3://data": [],
    }


def test_limits_that_the_memory_bears() -> None:
    """What is refused follows the function's memory, unless a variable says otherwise."""
    set_up = {"PREVIEW_ROOTS": json.dumps({"default": "memory"}), "PREVIEW_DATA": "/data"}
    memory = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1536"}
    limits = Deployment.from_environment({**set_up, **memory}).settings.limits
    assert limits == Limits.for_memory(1536 * 2**20)
    assert limits.seconds == math.inf
    named = {"DICOM_SERIES_PREVIEW_MAX_FRAME_BYTES": "1000", "DICOM_SERIES_PREVIEW_RETRIES": "1"}
    settings = Deployment.from_environment({**set_up, **memory, **named}).settings
    assert settings.limits == replace(limits, frame_bytes=1000)
    assert (settings.max_retries, settings.request_timeout_s) == (1, 8.0)


@pytest.mark.parametrize(("seconds", "expected"), [("", 20.0), ("5", 5.0), ("60", 20.0)])
def test_time_of_an_answer(seconds: str, expected: float, tmp_path: Path) -> None:
    """Who waits for an answer gets one before API Gateway gives up; batches take as long as they may."""
    made = Deployment.from_environment(
        {
            "PREVIEW_ROOTS": json.dumps({"default": str(tmp_path)}),
            "PREVIEW_DATA": str(tmp_path),
            "DICOM_SERIES_PREVIEW_MAX_SECONDS": seconds,
        }
    )
    assert made.api().services["default"]().limits.seconds == expected
    assert made.service("default").limits.seconds == (float(seconds) if seconds else math.inf)


def test_an_unknown_alias() -> None:
    """Who asks for a root that is not there is told those that are."""
    made = Deployment.from_environment({"PREVIEW_ROOTS": ROOTS, "PREVIEW_DATA": "s3://data"})
    with pytest.raises(RequestError, match="default, more"):
        made.service("nowhere")


def test_redirects_to_another_host_are_refused() -> None:
    """A web server that sends a function elsewhere is not followed, for a redirect may lead inside."""
    with servers.ScriptedServer([servers.Answer(200)]) as inside:
        elsewhere = servers.Answer(302, {"Location": f"http://localhost:{inside.port}/S/"})
        with servers.ScriptedServer([elsewhere]) as outside:
            roots = json.dumps({"default": f"{outside.url}/dicom"})
            made = Deployment.from_environment(
                {"PREVIEW_ROOTS": roots, "PREVIEW_DATA": "s3://data", "AWS_EC2_METADATA_DISABLED": "true"}
            )
            storage = made.storage(made.roots["default"])
            with pytest.raises(Exception, match="redirect") as caught:
                storage.list_objects("S")
    assert type(caught.value).__module__ == "dicom_series_preview.base.errors"
    assert inside.asked == []


def test_a_broken_variable_of_tokens_is_named_without_its_value() -> None:
    """Who has mistyped the tokens of web servers is told of that variable, not of the roots."""
    variables = {"PREVIEW_ROOTS": '{"default": "http://127.0.0.1:9/a"}', "PREVIEW_DATA": "s3://data"}
    made = Deployment.from_environment({**variables, "DICOM_SERIES_PREVIEW_HTTP_TOKENS": "secret"})
    with pytest.raises(RequestError) as caught:
        made.storage("http://127.0.0.1:9/a")
    assert caught.value.parameter == "DICOM_SERIES_PREVIEW_HTTP_TOKENS"
    assert "secret" not in str(caught.value)


def test_the_package_logs_as_its_function(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Warnings of the package are lines of JSON in the function's log; what it tells below names series."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "test-logs")
    function_logger()
    child = logging.getLogger("dicom_series_preview.archive.open")
    child.info("the index of Zwiebelfisch")
    child.warning("a message")
    (line,) = capsys.readouterr().out.splitlines()
    assert (json.loads(line)["message"], json.loads(line)["level"]) == ("a message", "WARNING")
