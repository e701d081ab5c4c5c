import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError, NoCredentialsError
from botocore.session import Session

from dicom_series_preview.base.errors import RequestError, StorageError
from dicom_series_preview.base.settings import DEFAULT_ROOT, Settings
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.sources.storage.s3_access import (
    S3Access,
    aws_address,
    bucket_region,
    resolve_access,
)
from servers import Answer, Asked, ScriptedServer

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAKEY", "AWS_SECRET_ACCESS_KEY": "wordless"}
SETTINGS = Settings(cache_dir=Path("unused"), concurrency=4, request_timeout_s=5.0)


def resolved(
    tmp_path: Path, environment: dict[str, str], region: str | None = "eu-west-3", **facts: Path
) -> S3Access:
    """The access to a bucket, without this machine's own configuration."""
    facts = {"dmi_vendor": tmp_path / "no-vendor"} | facts
    return resolve_access(
        "bucket", {"HOME": str(tmp_path)} | environment, lambda _bucket, _address: region, **facts
    )


def never(_bucket: str, _address: str) -> str:
    """Fail when called."""
    raise AssertionError("the region is not looked up")


def test_no_credentials(tmp_path: Path) -> None:
    """Without credentials anywhere, requests are not signed."""
    access = resolved(tmp_path, {})
    assert (access.anonymous, access.credentials, access.session, access.endpoint) == (True, None, None, None)


def test_environment_keys(tmp_path: Path) -> None:
    """Keys in the environment sign, and no text about the access shows them."""
    access = resolved(tmp_path, KEYS | {"AWS_SESSION_TOKEN": "token"})
    assert not access.anonymous
    assert access.credentials == {
        "access_key_id": "AKIAKEY",
        "secret_access_key": "wordless",
        "session_token": "token",
    }
    assert "wordless" not in repr(access)


@pytest.mark.parametrize("name", KEYS)
def test_half_of_the_keys(name: str, tmp_path: Path) -> None:
    """Half of the credentials is a mistake that is named."""
    with pytest.raises(StorageError, match="half"):
        resolved(tmp_path, {name: KEYS[name]})


@pytest.mark.parametrize(
    "environment",
    [
        {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x"},
        {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/r"},
        {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/x",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/t",
        },
    ],
)
def test_roles_that_obstore_fetches(environment: dict[str, str], tmp_path: Path) -> None:
    """A container's or a web identity's role is left to obstore."""
    access = resolved(tmp_path, environment)
    assert not access.anonymous
    assert sorted((access.credentials or {}).values()) == sorted(environment.values())
    assert access.session is None


PROFILES = """[default]
aws_access_key_id = D
aws_secret_access_key = d
[mine]
aws_access_key_id = M
aws_secret_access_key = m
"""


def test_profiles(tmp_path: Path) -> None:
    """A profile's keys and region are found in the usual files, and in those that the environment names."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(PROFILES)
    (tmp_path / ".aws" / "config").write_text("[profile mine]\nregion = ap-south-1\n")
    (tmp_path / "elsewhere").write_text(PROFILES.replace("= D", "= E"))

    def key(environment: dict[str, str]) -> str:
        access = resolved(tmp_path, environment)
        assert not access.anonymous
        assert access.session is not None
        return access.session()["access_key_id"]

    assert key({}) == "D"
    assert key({"AWS_PROFILE": "mine"}) == "M"
    assert key({"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "elsewhere")}) == "E"
    assert resolved(tmp_path, {"AWS_PROFILE": "mine"}, region=None).region == "ap-south-1"


def test_a_profile_is_read_again(tmp_path: Path) -> None:
    """Keys that are written anew while the process runs are found within minutes."""
    (tmp_path / ".aws").mkdir()
    file = tmp_path / ".aws" / "credentials"
    file.write_text(PROFILES)
    session = resolved(tmp_path, {}).session
    assert session is not None
    first = session()
    assert (first["access_key_id"], first["token"]) == ("D", None)
    expires_at = first["expires_at"]
    assert expires_at is not None
    assert datetime.now(UTC) < expires_at <= datetime.now(UTC) + timedelta(minutes=10)
    file.write_text(PROFILES.replace("= D", "= N\naws_session_token = T"))
    assert (session()["access_key_id"], session()["token"]) == ("N", "T")
    file.write_text("")
    with pytest.raises(NoCredentialsError):
        session()


def test_what_expires_is_renewed_by_botocore(tmp_path: Path) -> None:
    """A container's role is asked for again when it is about to expire, and not before."""
    left_s = iter((300, 3600))

    def role(_asked: Asked) -> Answer:
        expiration = (datetime.now(UTC) + timedelta(seconds=next(left_s))).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {"AccessKeyId": "R", "SecretAccessKey": "r", "Token": "T", "Expiration": expiration}
        return Answer(200, {}, json.dumps(body).encode())

    with ScriptedServer(role) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/role")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        session = resolved(tmp_path, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/role"}).session
        assert session is not None
        assert {session()["access_key_id"] for _ in range(3)} == {"R"}
        assert len(server.asked) == 2


def test_missing_profile(tmp_path: Path) -> None:
    """A profile that is not there is a mistake that is named."""
    with pytest.raises(StorageError, match="nobody"):
        resolved(tmp_path, {"AWS_PROFILE": "nobody"})


def test_config_without_credentials(tmp_path: Path) -> None:
    """A configuration that only tells the region does not make requests signed."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("[default]\nregion = eu-west-1\n")
    assert resolved(tmp_path, {}).anonymous


def test_other_machines_are_not_asked_for_a_role(tmp_path: Path) -> None:
    """An instance's role is looked for on EC2 only, and where that is not forbidden."""
    vendor = tmp_path / "vendor"
    vendor.write_text("Some Vendor\n")
    assert resolved(tmp_path, {}, dmi_vendor=vendor).anonymous
    vendor.write_text("Amazon EC2\n")
    assert resolved(tmp_path, {"AWS_EC2_METADATA_DISABLED": "true"}, dmi_vendor=vendor).anonymous


def test_public_bucket(tmp_path: Path) -> None:
    """The default root is read anonymously, whatever credentials there are, and never changes."""
    storage = open_storage(DEFAULT_ROOT, SETTINGS, KEYS | {"HOME": str(tmp_path)})
    assert storage.immutable
    access = resolve_access("idc-open-data", KEYS | {"AWS_REGION": "eu-west-1"}, never)
    assert (access.anonymous, access.region) == (True, "us-east-1")


@pytest.mark.parametrize(
    ("environment", "looked_up", "region"),
    [
        ({}, "eu-west-3", "eu-west-3"),
        ({"AWS_REGION": "eu-west-1"}, "eu-west-3", "eu-west-3"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, None, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, None, "eu-west-2"),
        ({}, None, "us-east-1"),
        ({"AWS_ENDPOINT_URL": "http://x"}, "eu-west-3", "us-east-1"),
        ({"AWS_ENDPOINT_URL": "http://x", "AWS_REGION": "eu-west-1"}, "eu-west-3", "eu-west-1"),
    ],
)
def test_regions(environment: dict[str, str], looked_up: str | None, region: str, tmp_path: Path) -> None:
    """The bucket's own region wins; with an endpoint there is nobody to ask."""
    assert resolved(tmp_path, environment, region=looked_up).region == region


def test_endpoints(tmp_path: Path) -> None:
    """S3's own endpoint variable wins over the general one."""
    environment = {"AWS_ENDPOINT_URL": "http://x", "AWS_ENDPOINT_URL_S3": "http://y"}
    assert resolved(tmp_path, environment).endpoint == "http://y"


REGIONS = [
    "us-east-1",
    "eu-central-1",
    "us-gov-west-1",
    "cn-north-1",
    "eusc-de-east-1",
    "us-iso-east-1",
    "us-isob-east-1",
    "us-isof-south-1",
    "eu-isoe-west-1",
]


@pytest.fixture(scope="module")
def aws_rules() -> EndpointProvider:
    """Where AWS's own library finds S3."""
    loader = Session().get_component("data_loader")
    rules = loader.load_service_model("s3", "endpoint-rule-set-1")
    return EndpointProvider(rules, loader.load_data("partitions"))


@pytest.mark.parametrize("dualstack", [False, True])
@pytest.mark.parametrize("fips", [False, True])
@pytest.mark.parametrize("region", REGIONS)
def test_addresses_of_aws(region: str, *, fips: bool, dualstack: bool, aws_rules: EndpointProvider) -> None:
    """S3 is where AWS's own library finds it: in each partition, with FIPS, by IPv6."""
    try:
        expected = aws_rules.resolve_endpoint(
            Bucket="my.bucket", Region=region, UseFIPS=fips, UseDualStack=dualstack, ForcePathStyle=True
        ).url
    except EndpointProviderError:
        assert (region, fips) == ("cn-north-1", True)  # there is none
        return
    environment = {
        "AWS_USE_FIPS_ENDPOINT": str(fips).lower(),
        "AWS_USE_DUALSTACK_ENDPOINT": str(dualstack),
    }
    assert f"{aws_address(region, environment)}/my.bucket" == expected


@pytest.mark.parametrize("variable", ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"])
def test_what_is_neither_true_nor_false(variable: str, tmp_path: Path) -> None:
    """Who demands FIPS in another word is told, and is not sent elsewhere in silence."""
    with pytest.raises(RequestError, match="'1' is neither true nor false") as raised:
        resolved(tmp_path, {variable: "1"})
    assert raised.value.parameter == variable


@pytest.mark.parametrize("endpoint", [{}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}])
@pytest.mark.parametrize("region", ["us east", "a.example.org/", "x@y"])
def test_what_is_no_region(region: str, endpoint: dict[str, str], tmp_path: Path) -> None:
    """A region is part of addresses and signatures: one that cannot be is named, and nobody is asked."""
    known = {"HOME": str(tmp_path), "AWS_REGION": region} | endpoint
    with pytest.raises(RequestError, match="is no region") as raised:
        resolve_access("bucket", known, never, tmp_path)
    assert raised.value.parameter == "AWS_REGION"


def test_an_address_that_is_given_wins(tmp_path: Path) -> None:
    """What an endpoint's variable names is used as it is, whatever the others say."""
    environment = {"AWS_ENDPOINT_URL": "https://s3.example.org/", "AWS_USE_FIPS_ENDPOINT": "true"}
    assert resolved(tmp_path, environment).address == "https://s3.example.org"


@pytest.mark.parametrize("status", [200, 301, 400, 403])
def test_region_lookup(status: int) -> None:
    """One HEAD tells the bucket's region, whatever its status."""
    with ScriptedServer([Answer(status, {"x-amz-bucket-region": "eu-north-1"})]) as server:
        assert bucket_region("my.bucket", server.url, {}) == "eu-north-1"
        assert [(asked.method, asked.path) for asked in server.asked] == [("HEAD", "/my.bucket")]


def test_region_lookup_without_an_answer() -> None:
    """No region is found where nobody answers, or the answer does not tell."""
    with ScriptedServer([Answer(404)]) as server:
        assert bucket_region("bucket", server.url, {}) is None
    assert bucket_region("bucket", server.url, {}) is None


@pytest.mark.parametrize(
    "endpoint", ["http://h:9000?x=1", "http://h:9000/#f", "http://h:9000/\u00fc", "http://h\\x", "h:9000"]
)
def test_what_is_no_endpoint(endpoint: str) -> None:
    """An endpoint has no query, no fragment, and nothing but ASCII; another is refused before it is asked."""
    with pytest.raises(RequestError, match=r"AWS_ENDPOINT_URL: .* is no URL"):
        open_storage("s3://bucket", Settings(Path("unused")), {"AWS_ENDPOINT_URL": endpoint})
