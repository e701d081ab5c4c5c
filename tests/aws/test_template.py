"""The deployment keeps its rules, whatever is added to it.

The template is read as CloudFormation would, under several sets of parameters. `make mutate-template`
breaks it in every way that it can think of, and each of them must fail a test here.
"""

import ast
import fnmatch
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

import cloudformation

PROJECT = Path(__file__).parents[2]
TEMPLATE = cloudformation.load(PROJECT / "template.yaml")
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
PARAMETERS: dict[str, dict[str, Any]] = TEMPLATE["Parameters"]
ACCOUNT = "123456789012"
KEYS = {
    name: f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/{name}-1" for name in ("dicom", "own", "root", "lists")
}
STACKS = {
    "defaults": cloudformation.resolve(TEMPLATE),
    "own-bucket": cloudformation.resolve(
        TEMPLATE,
        DicomPrefix="ct",
        KeyArn=KEYS["own"],
        AuthMode="NONE",
        AllowUnauthenticated="yes-i-mean-it",
        Architecture="arm64",
        **{"AWS::Partition": "aws-cn", "AWS::URLSuffix": "amazonaws.com.cn", "AWS::Region": "cn-north-1"},
    ),
    "existing-bucket": cloudformation.resolve(
        TEMPLATE,
        DicomBucketName="pacs",
        AuthMode="JWT",
        JwtIssuer="https://login.example.org",
        JwtAudience="viewer",
        JwtBatchScope="work",
        CorsOrigins="https://a.example.org,https://b.example.org",
        SubnetIds="subnet-1,subnet-2",
        SecurityGroupIds="sg-1",
    ),
    "everything": cloudformation.resolve(
        TEMPLATE,
        DicomBucketName="pacs",
        DicomPrefix="ct/new",
        DicomKeyArn=KEYS["dicom"],
        KeyArn=KEYS["own"],
        SeriesDepth="3",
        Roots='{"idc": "s3://idc-open-data", "more": "s3://other/x"}',
        RootBucketArns="arn:aws:s3:::other,arn:aws:s3:::third",
        RootKeyArns=f"{KEYS['root']},{KEYS['root']}2",
        ManifestBucketArns="arn:aws:s3:::lists,arn:aws:s3:::more-lists",
        ManifestKeyArns=f"{KEYS['lists']},{KEYS['lists']}2",
        BatchLimit="2",
        BatchSeriesLimit="1000",
        ApiRateLimit="11",
        ApiBurstLimit="12",
        MemorySize="3008",
        RenderConcurrency="7",
        UpdateConcurrency="8",
        BatchConcurrency="9",
        BatchToleratedFailurePercentage="13",
        RenderRetentionDays="14",
        BatchRetentionDays="15",
        LogRetentionDays="30",
        LogLevel="DEBUG",
        Tracing="on",
        AlarmEmail="a@example.org",
        WithDashboard="yes",
        CatalogueColumns="EchoTime,(0018,9087)",
        CataloguePatient="false",
        CatalogueAthena="yes",
        CatalogueSeconds="60",
        CatalogueMemorySize="4096",
        ConvertMemorySize="5120",
        ConvertStorageSize="6144",
        ConvertConcurrency="3",
        Identifiers="hash",
        HashKey="a-secret-of-16-or-more",
    ),
}
on_every_stack = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
READ = {
    "/series/{series}/mosaic": "mosaic",
    "/series/{series}/image": "image",
    "/series/{series}/contrast-mosaic": "contrast_mosaic",
    "/series/{series}/index": "index",
    "/series": "series",
    "/series/{series}": "series",
    "/series/{series}/volumes": "series",
    "/studies/{study}": "series",
    "/health": "index",
    "/openapi.json": "index",
    "/batches/{id}": "batch_api",
}
ROUTES = {
    **{f"{method} {path}": name for path, name in READ.items() for method in ("GET", "HEAD")},
    "POST /batches": "batch_api",
    "DELETE /batches/{id}": "batch_api",
}
LISTS = ("RootBucketArns", "RootKeyArns", "ManifestBucketArns", "ManifestKeyArns")
LISTS += ("CorsOrigins", "SubnetIds", "SecurityGroupIds")
STATEMENT_FIELDS = {"Sid", "Effect", "Action", "Resource", "Condition"}
# AWS knows no resources for these.
ONLY_FOR_ALL = re.compile(
    r"xray:\w+|ec2:\w+NetworkInterfaces?|logs:(\w+LogDelivery|ListLogDeliveries|\w+ResourcePolic\w+|DescribeLogGroups)"
)

# The functions that write the catalogue's table.
TABLE_WRITERS = ("catalogue_fold", "catalogue_maintenance")
# The function that converts series into volumes.
CONVERTER = "batch_convert"

Stack = cloudformation.Stack
Right = tuple[str, str, str]


def as_list(value: Any) -> list[Any]:
    """What may stand alone or in a list, in a list."""
    return value if isinstance(value, list) else [value]


def functions(stack: Stack) -> dict[str, dict[str, Any]]:
    """A stack's functions, by logical name."""
    return stack.of("AWS::Serverless::Function")


def folder(function: dict[str, Any]) -> str:
    """The folder of a function's code: `mosaic` of functions/mosaic."""
    return function["CodeUri"].removeprefix("functions/")


def by_folder(stack: Stack, name: str) -> str:
    """A function's logical name."""
    (found,) = [logical for logical, function in functions(stack).items() if folder(function) == name]
    return found


def rights(stack: Stack, role: str) -> set[Right]:
    """All that a role may do: action, resource, and the condition as JSON or nothing."""
    properties = stack.resources[role]["Properties"]
    own = [*properties.get("Policies", [])]
    own += [policy for policy in stack.of("AWS::IAM::Policy").values() if role in policy["Roles"]]
    assert len({policy["PolicyName"] for policy in own}) == len(own)
    documents = [policy["PolicyDocument"] for policy in own]
    documents += [
        stack.resources[name]["Properties"]["PolicyDocument"]
        for name in properties.get("ManagedPolicyArns", [])
    ]
    found = set()
    for statement in (entry for document in documents for entry in document["Statement"]):
        assert set(statement) <= STATEMENT_FIELDS
        assert statement["Effect"] == "Allow"
        condition = json.dumps(statement["Condition"], sort_keys=True) if "Condition" in statement else ""
        found |= {
            (action, resource, condition)
            for action in as_list(statement["Action"])
            for resource in as_list(statement["Resource"])
        }
    return found


def policy_of(stack: Stack, kind: str, field: str, name: str) -> list[dict[str, Any]]:
    """The statements of a bucket's, queue's or topic's policy."""
    (found,) = [policy for policy in stack.of(kind).values() if name in as_list(policy[field])]
    return found["PolicyDocument"]["Statement"]


def denied(policy: list[dict[str, Any]], action: str, resources: list[str]) -> list[dict[str, Any]]:
    """Under which conditions a policy denies an action on resources to everyone."""
    return [
        entry["Condition"]
        for entry in policy
        if (entry["Effect"], entry["Principal"], entry["Action"]) == ("Deny", "*", action)
        and as_list(entry["Resource"]) == resources
    ]


WITHOUT_TLS = {"Bool": {"aws:SecureTransport": "false"}}
WITH_OLD_TLS = {"NumericLessThan": {"s3:TlsVersion": "1.2"}}


# --- The file -----------------------------------------------------------------------------------------------


def test_the_template_has_no_aliases() -> None:
    """CloudFormation refuses YAML anchors and aliases, and SAM writes aliases as such."""
    text = (PROJECT / "template.yaml").read_text(encoding="utf-8")
    assert not re.search(r"(:|-) [&*][A-Za-z]+( |$)", text, re.MULTILINE)


def test_the_template_is_one_of_sam() -> None:
    """Nothing but SAM's own transform has to be there in an account: no macro."""
    assert TEMPLATE["AWSTemplateFormatVersion"] == "2010-09-09"
    assert TEMPLATE["Transform"] == "AWS::Serverless-2016-10-31"


@pytest.mark.aws
def test_sam_finds_nothing_wrong(sam: str) -> None:
    """`sam validate --lint` passes, without a region and without credentials."""
    environment = {**os.environ, "SAM_CLI_TELEMETRY": "0"}
    result = subprocess.run(
        [sam, "validate", "--lint"], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_configuration_names_no_account() -> None:
    """samconfig.toml has neither a region nor a bucket, role or account."""
    text = (PROJECT / "samconfig.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)["default"]
    assert not {"region", "profile", "s3_bucket", "role_arn"} & {
        key for table in tables.values() for key in table["parameters"]
    }
    assert not re.search(r"\d{12}", text + (PROJECT / "template.yaml").read_text(encoding="utf-8"))


# --- Parameters ---------------------------------------------------------------------------------------------


def test_nothing_has_to_be_set() -> None:
    """A deployment of defaults is whole, private, cheap and small."""
    assert all("Default" in entry for entry in PARAMETERS.values())
    given = STACKS["defaults"].given
    assert (given["AuthMode"], given["AllowUnauthenticated"]) == ("IAM", "no")
    assert int(given["ApiRateLimit"]) in range(10, 101)
    assert int(given["ApiBurstLimit"]) in range(int(given["ApiRateLimit"]), 201)
    # 1769 MB is one whole processor; small accounts have no concurrency to reserve; SQS wants two pollers.
    assert (given["MemorySize"], given["RenderConcurrency"], given["SeriesDepth"]) == ("1769", "0", "1")
    assert int(given["UpdateConcurrency"]) in range(2, 11)
    # So many that the bucket's 5,500 requests a second are not much overdrawn (docs/scale.md).
    assert int(given["BatchConcurrency"]) in range(1, 21)
    assert int(given["BatchToleratedFailurePercentage"]) in range(1, 51)
    of_package = constants(PROJECT / "shared/dicom_series_preview/doors/aws/environment.py")
    assert int(given["BatchLimit"]) == of_package["BATCHES_AT_ONCE"]
    assert int(given["BatchSeriesLimit"]) == of_package["BATCH_SERIES"]
    assert given["JwtBatchScope"] == "dicom-series-preview/batches"
    assert int(given["RenderRetentionDays"]) in range(7, 91)
    assert int(given["BatchRetentionDays"]) in range(30, 366)
    assert int(given["LogRetentionDays"]) in range(30, 366)
    assert (given["LogLevel"], given["Tracing"], given["WithDashboard"]) == ("INFO", "off", "no")
    assert (given["CatalogueColumns"], given["CataloguePatient"]) == ("", "true")
    assert (given["CatalogueAthena"], given["CatalogueSeconds"], given["CatalogueMemorySize"]) == (
        "no",
        "30",
        "3008",
    )
    assert (given["ConvertMemorySize"], given["ConvertStorageSize"], given["ConvertConcurrency"]) == (
        "3008",
        "4096",
        "0",
    )
    assert (given["Identifiers"], given["HashKey"]) == ("drop", "")
    assert PARAMETERS["HashKey"]["NoEcho"] is True
    assert given["Architecture"] == "x86_64"
    assert given["Roots"] == "{}"
    empty = ["DicomBucketName", "DicomPrefix", "DicomKeyArn", "JwtIssuer", "JwtAudience", "KeyArn"]
    empty += ["AlarmEmail"]
    assert [given[name] for name in empty] == [""] * len(empty)
    assert [given[name] for name in LISTS] == [[""]] * len(LISTS)


def constants(module: Path) -> dict[str, Any]:
    """The constants of a module, which cannot be imported where only the template is tested."""
    return {
        target.id: node.value.value
        for node in ast.parse(module.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("SeriesDepth", 1, 8),
        ("ApiRateLimit", 1, 10_000),
        ("ApiBurstLimit", 1, 5_000),
        ("MemorySize", 512, 10_240),
        ("RenderConcurrency", 0, None),
        ("UpdateConcurrency", 2, 1000),
        ("BatchConcurrency", 1, 10_000),
        ("BatchToleratedFailurePercentage", 0, 100),
        ("BatchLimit", 1, 100),
        # No more fit the memory of the summary.
        ("BatchSeriesLimit", 1, 250_000),
        # SQS's longest batching window; a whole processor; Lambda's most.
        ("CatalogueSeconds", 30, 300),
        ("CatalogueMemorySize", 1769, 10_240),
        # What Lambda has, of either.
        ("ConvertMemorySize", 1769, 10_240),
        ("ConvertStorageSize", 512, 10_240),
        ("ConvertConcurrency", 0, None),
        ("RenderRetentionDays", 1, None),
        ("BatchRetentionDays", 1, None),
    ],
)
def test_numbers_have_bounds(name: str, least: int, most: int | None) -> None:
    """A number that AWS would refuse, or that accounts do not have, is refused before anything is made."""
    entry = PARAMETERS[name]
    assert (entry["Type"], entry["MinValue"], entry.get("MaxValue")) == ("Number", least, most)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("AuthMode", ["IAM", "JWT", "NONE"]),
        ("AllowUnauthenticated", ["no", "yes-i-mean-it"]),
        ("Architecture", ["x86_64", "arm64"]),
        # What CloudWatch takes, up to ten years.
        ("LogRetentionDays", [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1827, 3653]),
        ("LogLevel", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
        ("Tracing", ["on", "off"]),
        ("WithDashboard", ["no", "yes"]),
        ("CataloguePatient", ["true", "false"]),
        ("Identifiers", ["drop", "hash", "keep"]),
        ("CatalogueAthena", ["no", "yes"]),
    ],
)
def test_choices_are_these(name: str, values: list[Any]) -> None:
    """What is chosen from a list is one of it."""
    assert PARAMETERS[name]["AllowedValues"] == values
    assert PARAMETERS[name]["Type"] == ("Number" if isinstance(values[0], int) else "String")


def tried(good: tuple[str, ...], bad: tuple[str, ...]) -> dict[str, bool]:
    """Texts that a pattern takes, and those that it does not."""
    return dict.fromkeys(good, True) | dict.fromkeys(bad, False)


KEY_TEXTS = tried(
    ("", KEYS["own"], "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-0a1b"),
    (f"arn:aws:kms:eu-central-1:{ACCOUNT}:alias/dicom", "alias/dicom", "0a1b", f"{KEYS['own']}/x"),
)
BUCKET_TEXTS = tried(("", "arn:aws:s3:::other"), ("*", "arn:aws:s3:::*", "other"))
GOOD_ROOTS = (
    "s3://idc-open-data",
    "s3://one/",
    "s3://one/ct/2024 new?#x",
    "s3://one/.hidden/a..b",
    "http://h",
    "https://h.example.org:65535/dicom/",
    "http://[::1]:8042/x",
    "https://h/a%20b/c=d&e",
    "https://h/.hidden/a..b",
)
BAD_ROOTS = (
    "s3://",
    "s3:///x",
    "s3://b",
    "s3://one?x=1",
    "s3://one/a//b",
    "s3://one/../b",
    "s3://one/a/.",
    "s3://key:word@one",
    "https://h/x?q=1",
    "https://h/#f",
    "https://u:p@h/x",
    "http://h:99999/",
    "http://h:65536",
    "https://[::1/",
    "https://h/../x",
    "https:///x",
    "ftp://h",
    "https://h/a\x01",
)
TEXTS = {
    "DicomBucketName": tried(("", "pacs"), ("s3://pacs", "PACS", "a", "p/acs")),
    "DicomPrefix": tried(
        ("", "ct/new", "year=2024/a b/c.d"),
        ("/ct", "ct/", "a//b", "../a", "a/..", "a/./b", ".", 'a"b', "a{b", "a\\b", "a*", "a?", "a$b", "a\nb"),
    ),
    "DicomKeyArn": KEY_TEXTS,
    "KeyArn": KEY_TEXTS,
    "Roots": tried(
        (
            "{}",
            '{"idc": "s3://idc-open-data"}',
            '{"a":"s3://xx/y","b":"https://h/p"}',
            *(f'{{"a": "{url}"}}' for url in GOOD_ROOTS),
            '{"a": "s3://one", "aa": "s3://two", "a-a": "s3://three"}',
        ),
        (
            "",
            "{ }",
            '{"a": "file:///etc"}',
            '{"a": "s3://x"',
            '{"a": {"b": "s3://x"}}',
            '{"a": "s3://x", }',
            '{"a": "s3://x""b": "s3://y"}',
            '{"a": "s3://x\\"}',
            '{"a": "s3://x", "default": "s3://y"}',
            *(f'{{"a": "{url}"}}' for url in BAD_ROOTS),
            '{"a": "s3://one", "b": "s3://two", "a": "s3://three"}',
            '{"A": "s3://one"}',
        ),
    ),
    "RootBucketArns": BUCKET_TEXTS,
    "RootKeyArns": KEY_TEXTS,
    "ManifestBucketArns": BUCKET_TEXTS,
    "ManifestKeyArns": KEY_TEXTS,
    # A scope that is empty would let any token start work.
    "JwtBatchScope": tried(("batch:write",), ("", "a b")),
    "JwtIssuer": tried(("", "https://login.example.org/x"), ("http://login.example.org", "x")),
    "JwtAudience": tried(("", "0a1b-2c"), ()),
    "CorsOrigins": tried(
        ("", "https://viewer.example.org", "http://localhost:3000"),
        ("*", "https://*", "https://*.example.org", "https://viewer.example.org/", "null"),
    ),
    "SubnetIds": tried(("", "subnet-0a1b"), ("vpc-0a1b", "subnet-0a1b;x")),
    "SecurityGroupIds": tried(("", "sg-0a1b"), ("subnet-0a1b", "sg-0a1b;x")),
    "AlarmEmail": tried(("", "a@example.org"), ("a", "a b@example.org")),
    "HashKey": tried(("", "x" * 16), ("x" * 15, "with space 16 or more", "x" * 201)),
    "CatalogueColumns": tried(("", "EchoTime,(0018,9087)", "00189087"), ("Echo Time", "a;b", 'a"', "a\nb")),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_have_patterns(name: str) -> None:
    """A text that would not do is refused before anything is made: aliases of keys, odd prefixes, stars."""
    pattern = PARAMETERS[name].get("AllowedPattern", ".*")
    assert {text: bool(re.fullmatch(pattern, text)) for text in TEXTS[name]} == TEXTS[name]
    assert PARAMETERS[name]["Type"] == ("CommaDelimitedList" if name in LISTS else "String")


def test_every_parameter_has_a_rule() -> None:
    """What is new has bounds, choices or a pattern, is explained, and is tried above."""
    named = {
        mark.args[1][index][0] if isinstance(mark.args[1][index], tuple) else mark.args[1][index]
        for test in (test_numbers_have_bounds, test_choices_are_these)
        for mark in test.pytestmark  # type: ignore[attr-defined] - pytest's
        for index in range(len(mark.args[1]))
    }
    assert set(PARAMETERS) == named | set(TEXTS)


@pytest.mark.parametrize(
    ("given", "accepted"),
    [
        ({}, True),
        ({"AuthMode": "NONE"}, False),
        ({"AuthMode": "NONE", "AllowUnauthenticated": "yes-i-mean-it"}, True),
        ({"AuthMode": "JWT"}, False),
        ({"AuthMode": "JWT", "JwtIssuer": "https://i"}, False),
        ({"AuthMode": "JWT", "JwtAudience": "a"}, False),
        ({"AuthMode": "JWT", "JwtIssuer": "https://i", "JwtAudience": "a"}, True),
        ({"Identifiers": "hash"}, False),
        ({"Identifiers": "hash", "HashKey": "x" * 16}, True),
        ({"Identifiers": "keep"}, True),
        ({"SubnetIds": "subnet-1"}, False),
        ({"SecurityGroupIds": "sg-1"}, False),
        ({"SubnetIds": "subnet-1,subnet-2", "SecurityGroupIds": "sg-1"}, True),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(given: dict[str, str], accepted: bool) -> None:  # noqa: FBT001
    """No API is open but by a second, explicit word; no token is without audience, no VPC half."""
    assert cloudformation.resolve(TEMPLATE, **given).accepted is accepted


@on_every_stack
def test_the_stacks_of_this_file_are_accepted(stack: Stack) -> None:
    """What is tried here could be deployed."""
    assert stack.accepted


# --- The page -----------------------------------------------------------------------------------------------


def page() -> str:
    """docs/deployment.md."""
    return (PROJECT / "docs" / "deployment.md").read_text(encoding="utf-8")


def test_the_page_has_every_parameter_with_its_default() -> None:
    """docs/deployment.md lists what can be set, and what it is where it is not."""
    rows = re.findall(r"^\| (`[A-Z][^|]*) \| ([^|]*)\|", page().partition("## A bucket")[0], re.MULTILINE)
    told = {}
    for names, defaults in rows:
        found = [re.findall(r"`([^`]+)`", cell) for cell in (names, defaults)]
        told |= dict(zip(found[0], found[1] or [""] * len(found[0]), strict=True))
    assert told == {name: str(entry["Default"]) for name, entry in PARAMETERS.items()}


def test_the_page_explains_every_alarm() -> None:
    """Whoever gets an alarm finds what has happened and what to do."""
    told = re.findall(r"^\| `(\w+Alarm)` \|", page(), re.MULTILINE)
    assert sorted(told) == sorted(STACKS["defaults"].of("AWS::CloudWatch::Alarm"))


def test_the_policy_of_a_key_lets_in_who_uses_it() -> None:
    """The page's policy of a key names each service that writes into what the key encrypts."""
    (text,) = re.findall(r"```json\n(.*?)```", page(), re.DOTALL)
    services = [entry["Principal"].get("Service", []) for entry in json.loads(text)["Statement"]]
    named = {service.partition(".")[0] for entry in services for service in as_list(entry)}
    senders = {
        statement["Principal"]["Service"].partition(".")[0]
        for stack in STACKS.values()
        for policy in stack.of("AWS::SQS::QueuePolicy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    }
    assert named == senders | {"logs"}


# --- Storage ------------------------------------------------------------------------------------------------


@on_every_stack
class TestBuckets:
    """Every bucket."""

    def test_one_is_made_for_series_where_none_is_named(self, stack: Stack) -> None:
        """A bucket for what the product makes; one for the series only where there is none."""
        own = {"DicomBucket"} if stack.given["DicomBucketName"] == "" else set()
        assert set(stack.of("AWS::S3::Bucket")) == {"DataBucket"} | own
        assert len(stack.of("AWS::S3::BucketPolicy")) == 1 + len(own)

    def test_encrypted_private_and_owned(self, stack: Stack) -> None:
        """Objects are encrypted, with the stack's key if it has one; none is public."""
        key = stack.given["KeyArn"]
        for bucket in stack.of("AWS::S3::Bucket").values():
            (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            assert rule == {
                "BucketKeyEnabled": bool(key),
                "ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
                if key
                else {"SSEAlgorithm": "AES256"},
            }
            block = bucket["PublicAccessBlockConfiguration"]
            assert len(block) == 4
            assert all(value is True for value in block.values())
            assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]

    def test_only_by_tls(self, stack: Stack) -> None:
        """Without TLS nobody does anything to the bucket or its objects; with an old one neither."""
        for name in stack.of("AWS::S3::Bucket"):
            policy = policy_of(stack, "AWS::S3::BucketPolicy", "Bucket", name)
            both = [f"{name}.Arn", f"{name}.Arn/*"]
            assert denied(policy, "s3:*", both) == [WITHOUT_TLS, WITH_OLD_TLS]
            assert all(statement["Effect"] == "Deny" for statement in policy)

    def test_kept_with_the_stack_gone_but_tidied(self, stack: Stack) -> None:
        """Deleting the stack deletes no data, a failed first deployment leaves none; lost uploads vanish."""
        for name, bucket in stack.of("AWS::S3::Bucket").items():
            assert stack.resources[name]["DeletionPolicy"] == "RetainExceptOnCreate"
            assert stack.resources[name]["UpdateReplacePolicy"] == "Retain"
            rules = bucket["LifecycleConfiguration"]["Rules"]
            assert all(rule["Status"] == "Enabled" for rule in rules)
            (unfinished,) = [rule for rule in rules if "AbortIncompleteMultipartUpload" in rule]
            assert unfinished["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] in range(1, 8)
            assert set(unfinished) == {"Id", "Status", "AbortIncompleteMultipartUpload"}

    def test_what_expires(self, stack: Stack) -> None:
        """Renders and batches after the days given, indices never, of series only versions that are past.

        With the last of these goes the marker of what was removed, which keeps a folder's name.
        """
        rules = stack.of("AWS::S3::Bucket")["DataBucket"]["LifecycleConfiguration"]["Rules"]
        expiring = {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "Prefix" in rule}
        assert expiring == {
            "renders/": stack.given["RenderRetentionDays"],
            "batches/": stack.given["BatchRetentionDays"],
        }
        assert len(rules) == 3
        if "DicomBucket" in stack.resources:
            versions, _ = stack.of("AWS::S3::Bucket")["DicomBucket"]["LifecycleConfiguration"]["Rules"]
            assert set(versions) == {
                "Id",
                "Status",
                "NoncurrentVersionExpiration",
                "ExpiredObjectDeleteMarker",
            }
            assert versions["ExpiredObjectDeleteMarker"] is True
            assert versions["NoncurrentVersionExpiration"]["NoncurrentDays"] in range(14, 91)

    def test_series_have_versions_and_what_is_made_of_them_has_none(self, stack: Stack) -> None:
        """A series overwritten by mistake comes back; what must be erased of the made is gone at once."""
        buckets = stack.of("AWS::S3::Bucket")
        assert "VersioningConfiguration" not in buckets["DataBucket"]
        if "DicomBucket" in buckets:
            assert buckets["DicomBucket"]["VersioningConfiguration"] == {"Status": "Enabled"}


# --- Changes ------------------------------------------------------------------------------------------------


CONSUMERS = ("index_updates", "catalogue_fold")
for_each_consumer = pytest.mark.parametrize("name", CONSUMERS)


def consumer(stack: Stack, name: str = "index_updates") -> tuple[dict[str, Any], dict[str, Any]]:
    """A function that reads a queue, and its event's properties."""
    found = functions(stack)[by_folder(stack, name)]
    (event,) = found["Events"].values()
    assert event["Type"] == "SQS"
    return found, event["Properties"]


def queue_of(stack: Stack, function: str = "index_updates") -> str:
    """The logical name of the queue that a function reads."""
    name: str = consumer(stack, function)[1]["Queue"].removesuffix(".Arn")
    assert name in stack.of("AWS::SQS::Queue")
    return name


def dead_letters_of(stack: Stack, function: str = "index_updates") -> str:
    """The logical name of that queue's dead-letter queue."""
    queue = stack.of("AWS::SQS::Queue")[queue_of(stack, function)]
    name: str = queue["RedrivePolicy"]["deadLetterTargetArn"]
    assert name.removesuffix(".Arn") in stack.of("AWS::SQS::Queue")
    return name.removesuffix(".Arn")


@on_every_stack
class TestChanges:
    """What comes into the bucket, or goes from it, reaches its index."""

    def test_the_own_bucket_tells_the_queue(self, stack: Stack) -> None:
        """S3 sends what comes and goes straight to the queue, which it may do before it is told to."""
        if "DicomBucket" not in stack.resources:
            return
        assert not stack.of("AWS::Events::Rule")
        bucket = stack.resources["DicomBucket"]
        told = bucket["Properties"]["NotificationConfiguration"]
        assert set(told) == {"QueueConfigurations"}
        assert {entry["Event"] for entry in told["QueueConfigurations"]} == {
            "s3:ObjectCreated:*",
            "s3:ObjectRemoved:*",
            "s3:LifecycleExpiration:DeleteMarkerCreated",
        }
        for entry in told["QueueConfigurations"]:
            # No filter: S3 wants some characters of a prefix encoded there. The function passes over others.
            assert set(entry) == {"Event", "Queue"}
            assert entry["Queue"] == f"{queue_of(stack)}.Arn"
        assert bucket["DependsOn"] in stack.of("AWS::SQS::QueuePolicy")

    def test_a_rule_sees_the_series_of_an_existing_bucket_and_nothing_else(self, stack: Stack) -> None:
        """EventBridge sends what comes and goes below the prefix, keeps trying, and loses nothing."""
        if "DicomBucket" in stack.resources:
            return
        (rule,) = stack.of("AWS::Events::Rule").values()
        assert rule.get("State", "ENABLED") == "ENABLED"
        prefix = stack.given["DicomPrefix"]
        below = {"object": {"key": [{"prefix": f"{prefix}/"}]}} if prefix else {}
        assert rule["EventPattern"] == {
            "source": ["aws.s3"],
            "detail-type": ["Object Created", "Object Deleted"],
            "account": [ACCOUNT],
            "detail": {"bucket": {"name": [stack.given["DicomBucketName"]]}, **below},
        }
        (target,) = rule["Targets"]
        assert target["Arn"] == f"{queue_of(stack)}.Arn"
        assert target["DeadLetterConfig"] == {"Arn": f"{dead_letters_of(stack)}.Arn"}
        assert target["RetryPolicy"]["MaximumRetryAttempts"] in range(100, 186)
        assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == 86_400
        assert set(target) == {"Id", "Arn", "DeadLetterConfig", "RetryPolicy"}

    def test_only_who_tells_of_objects_may_send(self, stack: Stack) -> None:
        """To the queue: S3 for buckets of this account, or the rule. Nobody without TLS."""
        queue, dead = queue_of(stack), dead_letters_of(stack)
        policy = policy_of(stack, "AWS::SQS::QueuePolicy", "Queues", queue)
        assert policy == policy_of(stack, "AWS::SQS::QueuePolicy", "Queues", dead)
        (sender,) = [statement for statement in policy if statement["Effect"] == "Allow"]
        assert sender["Action"] == "sqs:SendMessage"
        if "DicomBucket" in stack.resources:
            # The bucket waits for the policy, which therefore cannot name it.
            assert sender["Principal"] == {"Service": "s3.amazonaws.com"}
            assert as_list(sender["Resource"]) == [f"{queue}.Arn"]
            assert sender["Condition"] == {
                "StringEquals": {"aws:SourceAccount": ACCOUNT},
                "ArnLike": {"aws:SourceArn": f"arn:{stack.given['AWS::Partition']}:s3:::*"},
            }
        else:
            (rule,) = stack.of("AWS::Events::Rule")
            assert sender["Principal"] == {"Service": "events.amazonaws.com"}
            assert sender["Resource"] == [f"{queue}.Arn", f"{dead}.Arn"]
            assert sender["Condition"] == {"ArnEquals": {"aws:SourceArn": f"{rule}.Arn"}}
        assert denied(policy, "sqs:*", [f"{queue}.Arn", f"{dead}.Arn"]) == [WITHOUT_TLS]
        assert len(policy) == 2

    def test_queues_are_encrypted(self, stack: Stack) -> None:
        """By the deployment's key if it has one, else by SQS's own."""
        key = stack.given["KeyArn"]
        for queue in stack.of("AWS::SQS::Queue").values():
            assert queue.get("KmsMasterKeyId") == (key or None)
            assert queue.get("SqsManagedSseEnabled") is (None if key else True)

    @for_each_consumer
    def test_what_fails_again_and_again_is_put_aside(self, stack: Stack, name: str) -> None:
        """After a few tries a message goes to the dead-letter queue, which keeps it as long as SQS can."""
        queues = stack.of("AWS::SQS::Queue")
        queue, dead = queues[queue_of(stack, name)], queues[dead_letters_of(stack, name)]
        own = {queue_of(stack, other) for other in CONSUMERS}
        assert own | {dead_letters_of(stack, other) for other in CONSUMERS} == set(queues)
        assert len(queues) == 2 * len(CONSUMERS)
        assert queue["RedrivePolicy"]["maxReceiveCount"] in range(3, 11)
        assert dead["MessageRetentionPeriod"] == 14 * 86_400
        assert queue["MessageRetentionPeriod"] in range(86_400, 7 * 86_400 + 1)
        assert "RedrivePolicy" not in dead

    @for_each_consumer
    def test_no_message_comes_while_it_is_worked_on(self, stack: Stack, name: str) -> None:
        """It stays hidden for six timeouts and the batching window, as AWS says, and not much longer."""
        function, source = consumer(stack, name)
        hidden = stack.of("AWS::SQS::Queue")[queue_of(stack, name)]["VisibilityTimeout"]
        parameter = "CatalogueSeconds" if name == "catalogue_fold" else ""
        window = PARAMETERS[parameter]["MaxValue"] if parameter else source["MaximumBatchingWindowInSeconds"]
        assert hidden == 6 * function["Timeout"] + window

    @for_each_consumer
    def test_messages_come_in_large_batches_and_fail_singly(self, stack: Stack, name: str) -> None:
        """Many messages make one index or commit; only what failed comes again; so many at once."""
        _, source = consumer(stack, name)
        assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        # Writers of one table hinder each other: as few as SQS allows.
        most = stack.given["UpdateConcurrency"] if name == "index_updates" else 2
        assert source["ScalingConfig"] == {"MaximumConcurrency": most}
        assert source["BatchSize"] in range(500, 10_001)
        window = 30 if name == "index_updates" else stack.given["CatalogueSeconds"]
        assert source["MaximumBatchingWindowInSeconds"] == window
        assert source.get("Enabled", True) is True
        assert "FilterCriteria" not in source


@on_every_stack
class TestCatalogue:
    """What is written or removed below indices/ reaches the catalogue."""

    def test_the_data_bucket_tells_of_indices_and_nothing_else(self, stack: Stack) -> None:
        """S3 sends what becomes of an index, or of what stands in its place, and of no claim or picture."""
        bucket = stack.resources["DataBucket"]
        assert set(bucket["Properties"]["NotificationConfiguration"]) == {"QueueConfigurations"}
        told = set()
        for entry in bucket["Properties"]["NotificationConfiguration"]["QueueConfigurations"]:
            assert set(entry) == {"Event", "Queue", "Filter"}
            assert entry["Queue"] == f"{queue_of(stack, 'catalogue_fold')}.Arn"
            rules = {rule["Name"]: rule["Value"] for rule in entry["Filter"]["S3Key"]["Rules"]}
            told.add((entry["Event"], rules["prefix"], rules["suffix"]))
            assert len(rules) == len(entry["Filter"]["S3Key"]["Rules"]) == 2
        assert told == {
            (f"s3:Object{what}:*", "indices/", f"_index.parquet{end}")
            for what in ("Created", "Removed")
            for end in ("", ".partial")
        }
        assert bucket["DependsOn"] in stack.of("AWS::SQS::QueuePolicy")

    def test_only_s3_may_send(self, stack: Stack) -> None:
        """To the queue: S3 for buckets of this account. Nobody without TLS."""
        queue, dead = queue_of(stack, "catalogue_fold"), dead_letters_of(stack, "catalogue_fold")
        policy = policy_of(stack, "AWS::SQS::QueuePolicy", "Queues", queue)
        assert policy == policy_of(stack, "AWS::SQS::QueuePolicy", "Queues", dead)
        (sender,) = [statement for statement in policy if statement["Effect"] == "Allow"]
        assert (sender["Action"], sender["Resource"]) == ("sqs:SendMessage", f"{queue}.Arn")
        assert sender["Principal"] == {"Service": "s3.amazonaws.com"}
        # The bucket waits for the policy, which therefore cannot name it.
        assert sender["Condition"] == {
            "StringEquals": {"aws:SourceAccount": ACCOUNT},
            "ArnLike": {"aws:SourceArn": f"arn:{stack.given['AWS::Partition']}:s3:::*"},
        }
        assert denied(policy, "sqs:*", [f"{queue}.Arn", f"{dead}.Arn"]) == [WITHOUT_TLS]
        assert len(policy) == 2

    def test_maintenance_comes_every_day(self, stack: Stack) -> None:
        """Once a day, and by nothing else."""
        function = functions(stack)[by_folder(stack, "catalogue_maintenance")]
        (event,) = function["Events"].values()
        assert event == {"Type": "Schedule", "Properties": {"Schedule": "rate(1 day)"}}

    def test_nothing_else_hears_events(self, stack: Stack) -> None:
        """Functions of the HTTP API and of batches are called by those."""
        heard = {folder(function) for function in functions(stack).values() if "Events" in function}
        assert heard == {*CONSUMERS, "catalogue_maintenance"}

    def test_athena_finds_the_table_where_it_is_wanted(self, stack: Stack) -> None:
        """Glue has a table of Delta Lake at its place, whose columns Athena reads in the table's own log."""
        wanted = stack.given["CatalogueAthena"] == "yes"
        databases, tables = stack.of("AWS::Glue::Database"), stack.of("AWS::Glue::Table")
        assert len(databases) == len(tables) == wanted
        assert all(set(database) == {"CatalogId", "DatabaseInput"} for database in databases.values())
        for table in tables.values():
            assert [table["DatabaseName"]] == list(databases)
            assert {entry["CatalogId"] for entry in (table, *databases.values())} == {ACCOUNT}
            given = table["TableInput"]
            assert given["Parameters"] == {"EXTERNAL": "TRUE", "spark.sql.sources.provider": "delta"}
            assert (given["Name"], given["TableType"]) == ("series", "EXTERNAL_TABLE")
            assert given["PartitionKeys"] == []
            assert given["StorageDescriptor"] == {
                "Columns": [{"Name": "col", "Type": "array<string>"}],
                "Location": "s3://DataBucket/catalogue/",
                "SerdeInfo": {"Parameters": {"path": "s3://DataBucket/catalogue/"}},
            }


# --- Functions ----------------------------------------------------------------------------------------------


def test_every_folder_is_a_function() -> None:
    """No function is forgotten in the template."""
    assert sorted(folder(function) for function in functions(STACKS["defaults"]).values()) == sorted(
        path.parent.name for path in (PROJECT / "functions").glob("*/app.py")
    )


@pytest.mark.parametrize(
    "name", sorted(path.parent.name for path in (PROJECT / "functions").glob("*/app.py"))
)
def test_code_is_thin(name: str) -> None:
    """A function is one handler from the package, in at most twenty lines, in a folder with nothing else."""
    place = PROJECT / "functions" / name
    text = (place / "app.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 20
    assigned = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
    assert [target.id for node in assigned for target in node.targets] == ["handler"]
    assert "from dicom_series_preview.doors.aws.handlers import " in text
    assert [path.name for path in place.glob("[!_]*")] == ["app.py"]


@on_every_stack
class TestFunctions:
    """Every function."""

    def test_runs_what_was_built(self, stack: Stack) -> None:
        """The handler of app.py, with both layers, their Python and processor, and the memory asked for."""
        for name, function in functions(stack).items():
            assert stack.resources[name]["Metadata"] == {"SkipBuild": True}
            assert (function["Runtime"], function["Handler"]) == ("python3.13", "app.handler")
            assert function["Architectures"] == [stack.given["Architecture"]]
            writes = folder(function) in TABLE_WRITERS
            converts = folder(function) == CONVERTER
            more = ["CatalogueLayer"] if writes else ["VolumesLayer"] if converts else []
            assert function["Layers"] == ["DependenciesLayer", "PackageLayer", *more]
            # What a commit takes depends on the table, and a conversion on the largest series.
            size = "CatalogueMemorySize" if writes else "ConvertMemorySize" if converts else "MemorySize"
            assert function["MemorySize"] == stack.given[size]
            disk = {"Size": stack.given["ConvertStorageSize"]} if converts else None
            assert function.get("EphemeralStorage") == disk

    def test_ends_in_time(self, stack: Stack) -> None:
        """What a caller waits for ends just before API Gateway gives up, after 30 s; others have minutes."""
        for function in functions(stack).values():
            if folder(function) in ROUTES.values():
                assert function["Timeout"] in range(25, 30)
            elif folder(function) in CONSUMERS:
                # Shorter than the delay of the messages that look again at what may be under way.
                assert function["Timeout"] in range(120, 900)
            else:
                # The state machine waits as long (tests/aws/test_batch_machine.py).
                assert function["Timeout"] == 900

    def test_leaves_other_functions_room(self, stack: Stack) -> None:
        """Functions that render or convert reserve concurrency where it is asked for; the others never."""
        rendering = dict.fromkeys(
            ("mosaic", "image", "contrast_mosaic", "index", "series"), "RenderConcurrency"
        )
        reserving = {**rendering, CONVERTER: "ConvertConcurrency"}
        for function in functions(stack).values():
            asked = stack.given[reserving[folder(function)]] if folder(function) in reserving else "0"
            wanted = asked if asked != "0" else None
            assert function.get("ReservedConcurrentExecutions") == wanted

    def test_has_a_log_that_ends(self, stack: Stack) -> None:
        """All write to one log; every log is kept as long as was said, and encrypted with the stack's key."""
        logs = stack.of("AWS::Logs::LogGroup")
        for function in functions(stack).values():
            assert function["LoggingConfig"] == {"LogGroup": "FunctionsLog"}
        for log in logs.values():
            assert log["RetentionInDays"] == stack.given["LogRetentionDays"]
            assert log.get("KmsKeyId") == (stack.given["KeyArn"] or None)
            assert stack.given["AWS::StackName"] in log["LogGroupName"]
        # API Gateway's and Step Functions' are found by this beginning, or their policies grow too long.
        vended = {name for name, log in logs.items() if log["LogGroupName"].startswith("/aws/vendedlogs/")}
        assert vended == {"ApiLog", "BatchMachineLog"}
        assert logs["FunctionsLog"]["LogGroupName"].startswith("/aws/lambda/")
        assert len({log["LogGroupName"] for log in logs.values()}) == len(logs) == 3

    def test_traces_if_wanted(self, stack: Stack) -> None:
        """Tracing is a parameter, off by default: its SDK makes every cold start longer."""
        on = stack.given["Tracing"] == "on"
        for function in functions(stack).values():
            assert function["Tracing"] == ("Active" if on else "PassThrough")
            assert function["Environment"]["Variables"]["PREVIEW_TRACING"] == ("true" if on else "false")

    def test_runs_in_a_vpc_if_wanted(self, stack: Stack) -> None:
        """In the subnets and behind the security groups given, and in no VPC where none are."""
        subnets = stack.given["SubnetIds"]
        wanted = {"SubnetIds": subnets, "SecurityGroupIds": stack.given["SecurityGroupIds"]}
        for function in functions(stack).values():
            assert function.get("VpcConfig") == (wanted if subnets != [""] else None)

    def test_is_told_what_it_needs(self, stack: Stack) -> None:
        """Roots as JSON, the DICOM bucket first; the data bucket; how deep series lie; names."""
        given = stack.given
        bucket, prefix = given["DicomBucketName"] or "DicomBucket", given["DicomPrefix"]
        roots = {"default": f"s3://{bucket}/{prefix}".rstrip("/"), **json.loads(given["Roots"])}
        columns = {
            "CATALOGUE_COLUMNS": given["CatalogueColumns"],
            "CATALOGUE_PATIENT": given["CataloguePatient"],
        }
        for function in functions(stack).values():
            variables = dict(function["Environment"]["Variables"])
            assert json.loads(variables.pop("PREVIEW_ROOTS")) == roots
            own = {
                "batch_api": {
                    "PREVIEW_BATCH_STATE_MACHINE": "BatchMachine",
                    "PREVIEW_BATCHES_AT_ONCE": given["BatchLimit"],
                },
                "batch_convert": {"PREVIEW_CONVERT_DISK_MB": given["ConvertStorageSize"]},
                "batch_prepare": {"PREVIEW_BATCH_SERIES": given["BatchSeriesLimit"]},
                "catalogue_fold": {"PREVIEW_CATALOGUE_QUEUE": "CatalogueQueue", **columns},
                "catalogue_maintenance": columns,
                "series": {
                    **columns,
                    "DICOM_SERIES_PREVIEW_IDENTIFIERS": given["Identifiers"],
                    "DICOM_SERIES_PREVIEW_HASH_KEY": given["HashKey"],
                },
            }
            if folder(function) in {
                "mosaic",
                "image",
                "contrast_mosaic",
                "index",
                "series",
                "index_updates",
                "batch_item",
                "batch_convert",
            }:
                assert variables.pop("PREVIEW_UPDATES_QUEUE") == queue_of(stack)
            assert variables == {
                "OPENBLAS_NUM_THREADS": "1",
                "PREVIEW_DATA": "s3://DataBucket",
                "PREVIEW_SERIES_DEPTH": given["SeriesDepth"],
                "PREVIEW_SIGNED_BUCKETS": ",".join(given["RootBucketArns"] + given["ManifestBucketArns"]),
                "PREVIEW_AUTH_MODE": given["AuthMode"],
                "PREVIEW_TRACING": variables["PREVIEW_TRACING"],
                "POWERTOOLS_SERVICE_NAME": given["AWS::StackName"],
                "POWERTOOLS_METRICS_NAMESPACE": "DicomSeriesPreview",
                "POWERTOOLS_LOG_LEVEL": given["LogLevel"],
                **own.get(folder(function), {}),
            }


@on_every_stack
def test_layers_are_built_for_the_processor_they_run_on(stack: Stack) -> None:
    """Each layer has a Makefile, for the processor and the Python that functions run on."""
    layers = {name: stack.resources[name] for name in stack.of("AWS::Serverless::LayerVersion")}
    assert sorted(layers) == ["CatalogueLayer", "DependenciesLayer", "PackageLayer", "VolumesLayer"]
    for name, layer in layers.items():
        place, properties = PROJECT / layer["Metadata"]["ContextPath"], layer["Properties"]
        targets = re.findall(r"^build-(\w+):", "".join(map(Path.read_text, makefiles(place))), re.MULTILINE)
        assert name in targets
        assert layer["Metadata"]["BuildMethod"] == "makefile"
        assert layer["Metadata"]["BuildArchitecture"] == stack.given["Architecture"]
        assert properties["CompatibleArchitectures"] == [stack.given["Architecture"]]
        assert properties["CompatibleRuntimes"] == ["python3.13"]
        assert properties["RetentionPolicy"] == "Delete"
    sources = {name: PROJECT / layer["Properties"]["ContentUri"] for name, layer in layers.items()}
    for name in ("CatalogueLayer", "DependenciesLayer", "VolumesLayer"):
        assert layers[name]["Metadata"]["ContextPath"].endswith(f"/{stack.given['Architecture']}")
        assert (sources[name] / "requirements.txt").is_file()
    assert (sources["PackageLayer"] / "dicom_series_preview").is_dir()


def makefiles(place: Path) -> list[Path]:
    """A layer's Makefile, and what lies beside or above it to be included."""
    return [place / "Makefile", *place.parent.glob("*.mk")]


# --- What may be done ---------------------------------------------------------------------------------------


def read_series(stack: Stack) -> set[Right]:
    """Listing series, and reading them, below the prefix and in other roots, with the buckets' keys."""
    more = [f"{bucket}/*" for bucket in filter(None, stack.given["RootBucketArns"])]
    return (
        list_series(stack)
        | read_objects(stack)
        | {("s3:GetObject", where, "") for where in more}
        | decrypt(*stack.given["RootKeyArns"])
    )


def bucket_of_series(stack: Stack) -> str:
    """The ARN of the bucket of series."""
    return f"arn:{stack.given['AWS::Partition']}:s3:::{stack.given['DicomBucketName'] or 'DicomBucket'}"


def list_series(stack: Stack) -> set[Right]:
    """Listing series, below the prefix and in other roots."""
    prefix, more = stack.given["DicomPrefix"], stack.given["RootBucketArns"]
    below = json.dumps({"StringLike": {"s3:prefix": f"{prefix}/*"}}) if prefix else ""
    return {("s3:ListBucket", bucket_of_series(stack), below)} | {
        ("s3:ListBucket", bucket, "") for bucket in filter(None, more)
    }


def read_objects(stack: Stack) -> set[Right]:
    """Reading what lies below the prefix, with the bucket's key."""
    where = f"{bucket_of_series(stack)}/{stack.given['DicomPrefix']}/*".replace("//", "/")
    return {("s3:GetObject", where, "")} | decrypt(stack.given["DicomKeyArn"])


def decrypt(*keys: str) -> set[Right]:
    """Reading through S3 what keys have encrypted."""
    condition = json.dumps({"StringLike": {"kms:ViaService": "s3.*"}})
    return {("kms:Decrypt", key, condition) for key in filter(None, keys)}


def read_manifests(stack: Stack) -> set[Right]:
    """Reading lists of series: in manifests/ of the data bucket, beside the series, in the buckets named."""
    named = [f"{bucket}/*" for bucket in filter(None, stack.given["ManifestBucketArns"])]
    places = ["DataBucket.Arn/manifests/*", *named]
    return (
        read_objects(stack)
        | {("s3:GetObject", where, "") for where in places}
        | decrypt(*stack.given["ManifestKeyArns"])
    )


def keep(*folders: str) -> set[Right]:
    """Reading and writing folders of the data bucket."""
    return {
        (action, f"DataBucket.Arn/{name}/*", "")
        for name in folders
        for action in ("s3:GetObject", "s3:PutObject")
    }


def keep_indices(stack: Stack) -> set[Right]:
    """Reading and writing indices, reading places of series, giving back claims, saying what is forgotten."""
    return keep("indices") | {
        ("s3:GetObject", "DataBucket.Arn/uids/*", ""),
        ("s3:DeleteObject", "DataBucket.Arn/indices/*.lock", ""),
        ("sqs:SendMessage", f"{queue_of(stack)}.Arn", ""),
    }


def states(stack: Stack, kind: str, actions: list[str], where: str) -> set[Right]:
    """Actions on executions or runs of the machine."""
    given = stack.given
    machine = f"{given['AWS::Region']}:{ACCOUNT}:{kind}:BatchMachine.Name{where}"
    return {(f"states:{action}", f"arn:{given['AWS::Partition']}:states:{machine}", "") for action in actions}


def use_key(stack: Stack, *services: str) -> set[Right]:
    """The deployment's key, for what lies in services."""
    if not stack.given["KeyArn"]:
        return set()
    by = [f"{service}.*" for service in services]
    condition = json.dumps({"StringLike": {"kms:ViaService": by if len(by) > 1 else by[0]}})
    return {(action, stack.given["KeyArn"], condition) for action in ("kms:Decrypt", "kms:GenerateDataKey")}


def every_function(stack: Stack) -> set[Right]:
    """Its log, telling missing objects from forbidden ones, the key; traces and a VPC where wanted."""
    found = {(f"logs:{action}", "FunctionsLog.Arn", "") for action in ("CreateLogStream", "PutLogEvents")}
    found |= {("s3:ListBucket", "DataBucket.Arn", "")} | use_key(stack, "s3", "sqs")
    if stack.given["Tracing"] == "on":
        found |= {("xray:PutTraceSegments", "*", ""), ("xray:PutTelemetryRecords", "*", "")}
    if stack.given["SubnetIds"] != [""]:
        found |= {
            (f"ec2:{action}", "*", "")
            for action in ("CreateNetworkInterface", "DescribeNetworkInterfaces", "DeleteNetworkInterface")
        }
    return found


def lists_of_batches(stack: Stack) -> set[Right]:
    """Listing or reading what a batch is of, and keeping what comes of it."""
    return list_series(stack) | read_manifests(stack) | keep("batches")


def pictures(stack: Stack) -> set[Right]:
    """What whoever is asked for a series needs."""
    return read_series(stack) | keep_indices(stack) | keep("renders")


def batches_asked_for(stack: Stack) -> set[Right]:
    """Looking at its manifest, starting a batch, telling how it stands, and stopping it."""
    return (
        read_manifests(stack)
        | keep("batches")
        | {("s3:GetObject", "DataBucket.Arn/volumes/*", "")}
        | {("states:StartExecution", "BatchMachine", "")}
        | states(stack, "execution", ["DescribeExecution", "ListMapRuns", "StopExecution"], ":*")
        | states(stack, "mapRun", ["DescribeMapRun"], "/*:*")
    )


def changes(stack: Stack) -> set[Right]:
    """What the poller and rechecks need of the queue, and removing what was made of a series that is gone."""
    actions = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
    queue = f"{queue_of(stack)}.Arn"
    return {(f"sqs:{action}", queue, "") for action in actions} | {
        ("s3:DeleteObject", f"DataBucket.Arn/{name}/*", "")
        for name in ("indices", "renders", "batches/mosaics", "volumes")
    }


def keep_catalogue(_stack: Stack) -> set[Right]:
    """Reading and writing the table, and removing what it needs no more."""
    return keep("catalogue") | {("s3:DeleteObject", "DataBucket.Arn/catalogue/*", "")}


def catalogue(stack: Stack) -> set[Right]:
    """What the poller and looks need of the queue, reading indices, and noting where UIDs lie."""
    actions = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "SendMessage")
    return (
        keep_catalogue(stack)
        | {(f"sqs:{action}", f"{queue_of(stack, 'catalogue_fold')}.Arn", "") for action in actions}
        | {("s3:GetObject", "DataBucket.Arn/indices/*", "")}
        | {(f"s3:{action}", "DataBucket.Arn/uids/*", "") for action in ("PutObject", "DeleteObject")}
    )


MAY = {
    "catalogue_fold": catalogue,
    "catalogue_maintenance": keep_catalogue,
    "mosaic": pictures,
    "image": pictures,
    "contrast_mosaic": pictures,
    "index": pictures,
    "series": lambda stack: (
        read_series(stack) | keep_indices(stack) | {("s3:GetObject", "DataBucket.Arn/catalogue/*", "")}
    ),
    "index_updates": lambda stack: read_series(stack) | keep_indices(stack) | changes(stack),
    "batch_api": batches_asked_for,
    "batch_prepare": lists_of_batches,
    "batch_item": lambda stack: read_series(stack) | keep_indices(stack) | keep("batches"),
    "batch_convert": lambda stack: (
        read_series(stack)
        | keep_indices(stack)
        | keep("batches", "volumes")
        | {("s3:DeleteObject", "DataBucket.Arn/volumes/*", "")}
    ),
    "batch_summary": lists_of_batches,
}


@on_every_stack
class TestRights:
    """Least privilege: series are only ever read, and each role has what its work takes."""

    @pytest.mark.parametrize("name", MAY)
    def test_each_function_may_do_this_and_no_more(self, stack: Stack, name: str) -> None:
        """Its rights are what its work takes, to the action, the resource and the condition."""
        role = functions(stack)[by_folder(stack, name)]["Role"].removesuffix(".Arn")
        assert rights(stack, role) == MAY[name](stack) | every_function(stack)

    @pytest.mark.parametrize("name", ["batch_api", "batch_prepare"])
    def test_the_manifest_of_the_readme_may_be_read(self, stack: Stack, name: str) -> None:
        """What the README shows works: its manifest lies where the functions that read manifests may read."""
        text = (PROJECT / "README.md").read_text(encoding="utf-8")
        (place,) = re.findall(r'"manifest\\": \\"s3://\$DATA_BUCKET/([^"\\]+)\\"', text)
        may = rights(stack, functions(stack)[by_folder(stack, name)]["Role"].removesuffix(".Arn"))
        readable = [where for action, where, _ in may if action == "s3:GetObject"]
        assert [where for where in readable if fnmatch.fnmatchcase(f"DataBucket.Arn/{place}", where)]

    def test_the_machine_may_do_this_and_no_more(self, stack: Stack) -> None:
        """It calls its functions, reads and writes batches, starts its own children, and writes its log."""
        (machine,) = stack.of("AWS::Serverless::StateMachine").values()
        partition = stack.given["AWS::Partition"]
        wanted = {
            ("lambda:InvokeFunction", f"{by_folder(stack, name)}.Arn", "")
            for name in ("batch_prepare", "batch_item", "batch_convert", "batch_summary")
        }
        wanted |= {
            (f"s3:{action}", "DataBucket.Arn/batches/*", "")
            for action in ("GetObject", "PutObject", "ListMultipartUploadParts", "AbortMultipartUpload")
        }
        wanted |= {("states:StartExecution", "BatchMachine", "")} | use_key(stack, "s3")
        for where in (":*", "/*:*"):
            actions = ["DescribeExecution", "StopExecution", "RedriveExecution"]
            wanted |= states(stack, "execution", actions, where)
        delivery = "CreateLogDelivery GetLogDelivery UpdateLogDelivery DeleteLogDelivery ListLogDeliveries"
        delivery += " PutResourcePolicy DescribeResourcePolicies DescribeLogGroups"
        wanted |= {(f"logs:{action}", "*", "") for action in delivery.split()}
        if stack.given["Tracing"] == "on":
            actions = ["PutTraceSegments", "PutTelemetryRecords", "GetSamplingRules", "GetSamplingTargets"]
            wanted |= {(f"xray:{action}", "*", "") for action in actions}
        assert partition in str(wanted)
        assert rights(stack, machine["Role"].removesuffix(".Arn")) == wanted

    def test_nothing_is_allowed_by_wildcard(self, stack: Stack) -> None:
        """No action has a star, and a resource is all only where AWS knows none; no policy is AWS's own."""
        for role, properties in stack.of("AWS::IAM::Role").items():
            managed = properties.get("ManagedPolicyArns", [])
            assert all(stack.resources[policy]["Type"] == "AWS::IAM::ManagedPolicy" for policy in managed)
            for action, resource, _ in rights(stack, role):
                assert "*" not in action
                assert resource != "*" or ONLY_FOR_ALL.fullmatch(action), action

    def test_only_the_service_takes_a_role(self, stack: Stack) -> None:
        """Lambda takes those of functions, Step Functions the machine's; none is left over."""
        (machine,) = stack.of("AWS::Serverless::StateMachine").values()
        used = {function["Role"] for function in functions(stack).values()} | {machine["Role"]}
        assert used == {f"{role}.Arn" for role in stack.of("AWS::IAM::Role")}
        for role, properties in stack.of("AWS::IAM::Role").items():
            (trust,) = properties["AssumeRolePolicyDocument"]["Statement"]
            assert (trust["Effect"], trust["Action"]) == ("Allow", "sts:AssumeRole")
            if machine["Role"] == f"{role}.Arn":
                assert trust["Principal"] == {"Service": "states.amazonaws.com"}
                assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
            else:
                assert trust["Principal"] == {"Service": "lambda.amazonaws.com"}

    def test_there_is_no_other_door(self, stack: Stack) -> None:
        """Functions are called by the API, the queue and the machine: they have no URL of their own."""
        kinds = {entry["Type"] for entry in stack.resources.values()}
        assert not kinds & {"AWS::Lambda::Permission", "AWS::Lambda::Url", "AWS::S3::AccessPoint"}
        assert not [name for name, function in functions(stack).items() if "FunctionUrlConfig" in function]
        assert not [
            name for name, bucket in stack.of("AWS::S3::Bucket").items() if "WebsiteConfiguration" in bucket
        ]

    def test_policies_have_todays_language(self, stack: Stack) -> None:
        """Every policy names the version of its language; without it, it would be that of 2008."""
        documents = [
            entry
            for resource in stack.resources.values()
            for entry in found_below(resource)
            if isinstance(entry, dict) and "Statement" in entry
        ]
        assert len(documents) > 10
        assert {document["Version"] for document in documents} == {"2012-10-17"}


def found_below(node: Any) -> list[Any]:
    """A node and all below it."""
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [node, *(entry for child in below for entry in found_below(child))]


# --- The HTTP API -------------------------------------------------------------------------------------------


@on_every_stack
class TestApi:
    """The HTTP API."""

    def test_routes(self, stack: Stack) -> None:
        """The routes are the specification's, and each reaches its function, which the API may call."""
        assert list(stack.of("AWS::ApiGatewayV2::Api")) == ["Api"]
        api = stack.of("AWS::ApiGatewayV2::Api")["Api"]
        assert (api["Name"], api["ProtocolType"]) == (stack.given["AWS::StackName"], "HTTP")
        integrations = stack.of("AWS::ApiGatewayV2::Integration")
        found = {}
        for route in stack.of("AWS::ApiGatewayV2::Route").values():
            integration = integrations[route["Target"].removeprefix("integrations/")]
            assert route["Target"].startswith("integrations/")
            assert route["ApiId"] == integration["ApiId"] == "Api"
            assert (integration["IntegrationType"], integration["PayloadFormatVersion"]) == (
                "AWS_PROXY",
                "2.0",
            )
            # API Gateway's own limit, 30 s, is what the functions' timeouts are made for.
            assert integration.get("TimeoutInMillis", 30_000) == 30_000
            function = functions(stack)[integration["IntegrationUri"].removesuffix(".Arn")]
            found[route["RouteKey"]] = folder(function)
        assert found == ROUTES

    def test_the_api_may_call_the_functions_behind_it_and_no_others(self, stack: Stack) -> None:
        """A connector of SAM gives API Gateway the permission for each."""
        (connector,) = stack.resources["Api"]["Connectors"].values()
        assert connector["Properties"]["Permissions"] == ["Write"]
        called = [entry["Id"] for entry in connector["Properties"]["Destination"]]
        assert sorted(called) == sorted(by_folder(stack, name) for name in set(ROUTES.values()))

    def test_every_route_asks_who_you_are(self, stack: Stack) -> None:
        """All routes have the deployment's authorization; starting work is never open, and needs a scope."""
        mode = stack.given["AuthMode"]
        look = {"IAM": "AWS_IAM", "JWT": "JWT", "NONE": "NONE"}[mode]
        work = {"IAM": "AWS_IAM", "JWT": "JWT", "NONE": "AWS_IAM"}[mode]
        authorizers = stack.of("AWS::ApiGatewayV2::Authorizer")
        assert len(authorizers) == (mode == "JWT")
        for route in stack.of("AWS::ApiGatewayV2::Route").values():
            of_batches = "/batches" in route["RouteKey"]
            assert route["AuthorizationType"] == (work if of_batches else look)
            scopes = ["work"] if of_batches and mode == "JWT" else None
            assert route.get("AuthorizationScopes") == scopes
            assert route.get("AuthorizerId") == next(iter(authorizers), None)
        for authorizer in authorizers.values():
            assert (authorizer["AuthorizerType"], authorizer["ApiId"]) == ("JWT", "Api")
            assert authorizer["Name"]
            assert authorizer["IdentitySource"] == ["$request.header.Authorization"]
            assert authorizer["JwtConfiguration"] == {
                "Issuer": "https://login.example.org",
                "Audience": ["viewer"],
            }

    def test_callers_have_limits(self, stack: Stack) -> None:
        """So many requests a second, and at once, as was said; routes are served once they are there."""
        (stage,) = stack.of("AWS::ApiGatewayV2::Stage").values()
        assert (stage["ApiId"], stage["StageName"], stage["AutoDeploy"]) == ("Api", "$default", True)
        assert stage["DefaultRouteSettings"] == {
            "ThrottlingRateLimit": stack.given["ApiRateLimit"],
            "ThrottlingBurstLimit": stack.given["ApiBurstLimit"],
            "DetailedMetricsEnabled": True,
        }
        assert not stage.get("RouteSettings")

    def test_the_access_log_names_no_series(self, stack: Stack) -> None:
        """It is JSON of routes, numbers and callers: no path, query or header, which may name a patient."""
        (stage,) = stack.of("AWS::ApiGatewayV2::Stage").values()
        settings = stage["AccessLogSettings"]
        assert settings["DestinationArn"] == "ApiLog.Arn"
        assert json.loads(settings["Format"]) == {
            "time": "$context.requestTime",
            "request": "$context.requestId",
            "route": "$context.routeKey",
            "status": "$context.status",
            "bytes": "$context.responseLength",
            "latency_ms": "$context.responseLatency",
            "integration_ms": "$context.integrationLatency",
            "lambda": "$context.integration.integrationStatus",
            "address": "$context.identity.sourceIp",
            "caller": "$context.identity.userArn",
            "subject": "$context.authorizer.claims.sub",
            "error": "$context.error.responseType",
        }
        assert not re.search(r"path|query|header|domain", settings["Format"], re.IGNORECASE)

    def test_web_pages_call_it_only_from_the_origins_given(self, stack: Stack) -> None:
        """No origin may by default; those given may read every header that answers have."""
        cors = stack.of("AWS::ApiGatewayV2::Api")["Api"].get("CorsConfiguration")
        if stack.given["CorsOrigins"] == [""]:
            assert cors is None
            return
        assert cors["AllowOrigins"] == stack.given["CorsOrigins"]
        assert set(cors["AllowMethods"]) == {key.partition(" ")[0] for key in ROUTES}
        signed = {"authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"}
        own = {"content-type", "idempotency-key", "if-none-match"}
        assert set(cors["AllowHeaders"]) == signed | own
        assert cors["ExposeHeaders"] == ["*"]
        assert cors["MaxAge"] in range(600, 86_401)
        assert not cors.get("AllowCredentials")


# --- Batches ------------------------------------------------------------------------------------------------


@on_every_stack
class TestMachine:
    """The state machine of batches."""

    def test_its_definition_is_filled_in(self, stack: Stack) -> None:
        """Each name in the definition has its value, and no value is left over."""
        (machine,) = stack.of("AWS::Serverless::StateMachine").values()
        text = (PROJECT / machine["DefinitionUri"]).read_text(encoding="utf-8")
        filled = machine["DefinitionSubstitutions"]
        assert set(re.findall(r"\$\{(\w+)\}", text)) == set(filled)
        partition = stack.given["AWS::Partition"]
        assert filled["LambdaInvoke"] == f"arn:{partition}:states:::lambda:invoke"
        assert filled["S3GetObject"] == f"arn:{partition}:states:::s3:getObject"
        assert filled["S3PutObject"] == f"arn:{partition}:states:::s3:putObject"
        for name in ("Prepare", "Item", "Convert", "Summary"):
            assert filled[f"{name}Function"] == f"{by_folder(stack, f'batch_{name.lower()}')}.Arn"
        assert filled["DataBucket"] == "DataBucket"
        assert filled["MaxConcurrency"] == stack.given["BatchConcurrency"]
        assert filled["ToleratedFailurePercentage"] == stack.given["BatchToleratedFailurePercentage"]

    def test_it_logs_errors_and_no_data(self, stack: Stack) -> None:
        """A batch may take a day, so it is STANDARD; its log has no input or output, which names folders."""
        (machine,) = stack.of("AWS::Serverless::StateMachine").values()
        assert machine["Type"] == "STANDARD"
        (destination,) = machine["Logging"]["Destinations"]
        assert destination["CloudWatchLogsLogGroup"]["LogGroupArn"] == "BatchMachineLog.Arn"
        assert (machine["Logging"]["Level"], machine["Logging"]["IncludeExecutionData"]) == ("ERROR", False)
        assert machine["Tracing"] == {"Enabled": stack.given["Tracing"] == "on"}


# --- Watching -----------------------------------------------------------------------------------------------


def watched(alarm: dict[str, Any]) -> set[tuple[str, ...]]:
    """The metrics of an alarm: namespace, name, statistic, and what each dimension is."""
    if "Metrics" not in alarm:
        metrics = [{"Metric": alarm, "Stat": alarm["Statistic"], "Period": alarm["Period"]}]
    else:
        total, *parts = alarm["Metrics"]
        assert total["Expression"] == "SUM(METRICS())"
        assert total.get("ReturnData", True) is True
        assert all(part["ReturnData"] is False for part in parts)
        assert len({part["Id"] for part in [total, *parts]}) == len(alarm["Metrics"])
        metrics = [part["MetricStat"] for part in parts]
    assert {metric["Period"] for metric in metrics} == {300}
    return {
        (
            metric["Metric"]["Namespace"],
            metric["Metric"]["MetricName"],
            metric["Stat"],
            *(
                text
                for entry in metric["Metric"].get("Dimensions", [])
                for text in (entry["Name"], entry["Value"])
            ),
        )
        for metric in metrics
    }


@on_every_stack
class TestWatching:
    """What somebody is told of: only what can happen and means something."""

    def test_alarms(self, stack: Stack) -> None:
        """Dead letters, what waits, faults of the API and of maintenance, callers turned away, batches."""
        name = stack.given["AWS::StackName"]
        wanted: dict[frozenset[tuple[str, ...]], Any] = {}
        for function in CONSUMERS:
            queue, dead = queue_of(stack, function), dead_letters_of(stack, function)
            visible = ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", "QueueName")
            wanted[frozenset({(*visible, f"{dead}.QueueName")})] = range(1)
            # Longer than one failure hides a message, shorter than SQS keeps it.
            oldest = ("AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum", "QueueName")
            hidden = stack.of("AWS::SQS::Queue")[queue]["VisibilityTimeout"]
            wanted[frozenset({(*oldest, f"{queue}.QueueName")})] = range(hidden, 86_400)
        maintenance = by_folder(stack, "catalogue_maintenance")
        wanted |= {
            frozenset({("AWS/Lambda", "Errors", "Sum", "FunctionName", maintenance)}): range(1),
            frozenset({(name, "ApiFaults", "Sum")}): range(1),
            frozenset({(name, "ApiThrottles", "Sum")}): range(1),
            frozenset(
                {
                    ("AWS/States", "ExecutionsFailed", "Sum", "StateMachineArn", "BatchMachine"),
                    ("AWS/States", "ExecutionsTimedOut", "Sum", "StateMachineArn", "BatchMachine"),
                }
            ): range(1),
        }
        found = {}
        for alarm in stack.of("AWS::CloudWatch::Alarm").values():
            found[frozenset(watched(alarm))] = alarm["Threshold"]
            assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
            assert alarm["TreatMissingData"] == "notBreaching"
            assert alarm["EvaluationPeriods"] in range(1, 4)
            assert alarm["AlarmDescription"]
            assert alarm["AlarmActions"] == (["AlarmTopic"] if stack.given["AlarmEmail"] else [])
        assert set(found) == set(wanted)
        assert all(found[metrics] in wanted[metrics] for metrics in wanted)

    def test_faults_are_counted_where_the_access_log_has_them(self, stack: Stack) -> None:
        """500 is a fault, 503 is none; 429 of Lambda itself is a caller turned away."""
        (stage,) = stack.of("AWS::ApiGatewayV2::Stage").values()
        logged = json.loads(stage["AccessLogSettings"]["Format"])
        found = {}
        for counted in stack.of("AWS::Logs::MetricFilter").values():
            field, value = re.fullmatch(r'\{ \$\.(\w+) = "(\d+)" \}', counted["FilterPattern"]).groups()
            (metric,) = counted["MetricTransformations"]
            assert counted["LogGroupName"] == stage["AccessLogSettings"]["DestinationArn"].removesuffix(
                ".Arn"
            )
            assert (metric["MetricNamespace"], metric["MetricValue"]) == (stack.given["AWS::StackName"], "1")
            found[metric["MetricName"]] = (logged[field], value)
        assert found == {
            "ApiFaults": ("$context.status", "500"),
            "ApiThrottles": ("$context.integration.integrationStatus", "429"),
        }

    def test_alarms_are_sent_where_an_address_is_given(self, stack: Stack) -> None:
        """To that address; only alarms of this account send, and nobody without TLS."""
        address = stack.given["AlarmEmail"]
        topics = stack.of("AWS::SNS::Topic")
        assert len(topics) == len(stack.of("AWS::SNS::TopicPolicy")) == bool(address)
        for name, topic in topics.items():
            assert topic["Subscription"] == [{"Protocol": "email", "Endpoint": address}]
            policy = policy_of(stack, "AWS::SNS::TopicPolicy", "Topics", name)
            assert denied(policy, "sns:Publish", [name]) == [WITHOUT_TLS]
            (sender,) = [statement for statement in policy if statement["Effect"] == "Allow"]
            assert (sender["Principal"], sender["Action"], sender["Resource"]) == (
                {"Service": "cloudwatch.amazonaws.com"},
                "sns:Publish",
                name,
            )
            assert sender["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}

    def test_the_dashboard_is_there_if_wanted(self, stack: Stack) -> None:
        """Its body is JSON, in this region, and shows every function, the queues and the machine."""
        dashboards = stack.of("AWS::CloudWatch::Dashboard")
        assert len(dashboards) == (stack.given["WithDashboard"] == "yes")
        for dashboard in dashboards.values():
            assert dashboard["DashboardName"] == stack.given["AWS::StackName"]
            widgets = [widget["properties"] for widget in json.loads(dashboard["DashboardBody"])["widgets"]]
            assert {widget["region"] for widget in widgets} == {stack.given["AWS::Region"]}
            shown = {
                text
                for entry in found_below(widgets)
                if isinstance(entry, list)
                for text in entry[:5]
                if isinstance(text, str)
            }
            queues = {f"{name}.QueueName" for name in stack.of("AWS::SQS::Queue")}
            assert {*functions(stack), "Api", "BatchMachine", *queues} <= shown


# --- Outputs ------------------------------------------------------------------------------------------------


@on_every_stack
def test_outputs(stack: Stack) -> None:
    """Whoever uses the stack learns all names from its outputs."""
    given = stack.given
    place = f"{given['AWS::Region']}.{given['AWS::URLSuffix']}"
    outputs = dict(stack.outputs)
    command = outputs.pop("NotifyCommand")
    if given["DicomBucketName"]:
        assert f"--bucket {given['DicomBucketName']}" in command
        assert '{"EventBridgeConfiguration": {}}' in command
        assert "put-bucket-notification-configuration" in command
    else:
        assert command == "nothing to do"
    assert outputs == {
        "ApiUrl": f"https://Api.execute-api.{place}",
        "ApiArn": f"arn:{given['AWS::Partition']}:execute-api:{given['AWS::Region']}:{ACCOUNT}:Api/*",
        "DataBucketName": "DataBucket",
        "SeriesBucketName": given["DicomBucketName"] or "DicomBucket",
        "ObjectsQueueUrl": queue_of(stack),
        "ObjectsDeadLettersUrl": dead_letters_of(stack),
        "CatalogueQueueUrl": queue_of(stack, "catalogue_fold"),
        "CatalogueDeadLettersUrl": dead_letters_of(stack, "catalogue_fold"),
        "BatchMachineArn": "BatchMachine",
        **{
            f"{name}FunctionName": f"{name}Function"
            for name in ("Mosaic", "Image", "ContrastMosaic", "Index")
        },
    }
