"""The deployment keeps its rules, whatever is added to it."""

from __future__ import annotations

import ast
import fnmatch
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import cloudformation

PROJECT = Path(__file__).parents[2]
TEMPLATE = cloudformation.load(PROJECT / "template.yaml")
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
GLOBALS = TEMPLATE["Globals"]["Function"]
DEFAULTS = cloudformation.Evaluator(TEMPLATE)
KEY = "arn:aws:kms:eu-central-1:123456789012:key/2"
EVERYTHING = cloudformation.Evaluator(
    TEMPLATE,
    DicomBucketName="pacs",
    DicomPrefix="ct/new",
    DicomKeyArn="arn:aws:kms:eu-central-1:123456789012:key/1",
    Roots='{"idc": "s3://idc-open-data", "more": "s3://other/x"}',
    RootBucketArns="arn:aws:s3:::other,arn:aws:s3:::third",
    ManifestBucketArns="arn:aws:s3:::lists,arn:aws:s3:::more-lists",
    RenderConcurrency="7",
    AlarmEmail="a@example.org",
    KeyArn=KEY,
    WithDashboard="yes",
)
ROUTES = {
    "GET /series/{series}/mosaic": "mosaic",
    "GET /series/{series}/image": "image",
    "GET /series/{series}/contrast-mosaic": "contrast_mosaic",
    "GET /series/{series}/index": "index",
    "GET /health": "index",
    "GET /openapi.json": "index",
    "POST /batches": "batch_api",
    "GET /batches/{id}": "batch_api",
    "DELETE /batches/{id}": "batch_api",
}
# AWS knows no resources for these.
ONLY_FOR_ALL = re.compile(
    r"xray:\w+|logs:(\w+LogDelivery|ListLogDeliveries|\w+ResourcePolic\w+|DescribeLogGroups)"
)


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    """Resources of a type, by logical name: their properties."""
    return {name: entry["Properties"] for name, entry in RESOURCES.items() if entry["Type"] == kind}


FUNCTIONS = of_type("AWS::Serverless::Function")
BUCKETS = of_type("AWS::S3::Bucket")
QUEUES = of_type("AWS::SQS::Queue")


def as_list(value: Any) -> list[Any]:
    """What may stand alone or in a list, in a list."""
    return value if isinstance(value, list) else [value]


def folder(function: str) -> str:
    """The folder of a function's code, as functions/<name>."""
    return FUNCTIONS[function]["CodeUri"].removeprefix("functions/")


def statements(document: dict[str, Any], evaluator: cloudformation.Evaluator) -> list[dict[str, Any]]:
    """A policy document's statements under parameters."""
    return evaluator.value(document)["Statement"]


def role_statements(role: str, evaluator: cloudformation.Evaluator = DEFAULTS) -> list[dict[str, Any]]:
    """All that a role may do: its own policies, the shared ones, and those attached to it."""
    properties = RESOURCES[role]["Properties"]
    documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
    documents += [
        RESOURCES[name]["Properties"]["PolicyDocument"]
        for name in evaluator.value(properties.get("ManagedPolicyArns", []))
    ]
    documents += [
        policy["PolicyDocument"]
        for policy in of_type("AWS::IAM::Policy").values()
        if {"Ref": role} in policy["Roles"]
    ]
    return [statement for document in documents for statement in statements(document, evaluator)]


def allowed(role: str, evaluator: cloudformation.Evaluator = DEFAULTS) -> set[tuple[str, str]]:
    """Each action that a role may take, with each resource."""
    return {
        (action, resource)
        for statement in role_statements(role, evaluator)
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }


def role_of(function: str) -> str:
    """A function's role, by logical name."""
    return FUNCTIONS[function]["Role"]["Fn::GetAtt"][0]


def by_folder(name: str) -> str:
    """A function's logical name."""
    return next(function for function in FUNCTIONS if folder(function) == name)


def policy_of(kind: str, field: str, name: str) -> list[dict[str, Any]]:
    """The statements of a bucket's, queue's or topic's policy."""
    found = [
        policy["PolicyDocument"]
        for policy in of_type(kind).values()
        if {"Ref": name} in as_list(policy[field])
    ]
    assert len(found) == 1, f"{name} has {len(found)} policies"
    return found[0]["Statement"]


def denies_without_tls(policy: list[dict[str, Any]], action: str) -> list[Any]:
    """The resources whose use without TLS a policy denies to everyone."""
    return [
        resource
        for statement in policy
        if statement.get("Effect") == "Deny"
        and statement["Principal"] == "*"
        and statement["Action"] == action
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for resource in as_list(statement["Resource"])
    ]


def test_the_template_has_no_aliases() -> None:
    """CloudFormation refuses YAML anchors and aliases, and SAM writes aliases as such."""
    text = (PROJECT / "template.yaml").read_text(encoding="utf-8")
    assert not re.search(r"(:|-) [&*][A-Za-z]+( |$)", text, re.MULTILINE)


@pytest.mark.aws
def test_sam_finds_nothing_wrong(sam: str) -> None:
    """`sam validate --lint` passes, without a region and without credentials."""
    environment = {**os.environ, "SAM_CLI_TELEMETRY": "0"}
    result = subprocess.run(
        [sam, "validate", "--lint"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", BUCKETS)
class TestBuckets:
    """Every bucket."""

    def test_encrypted_private_and_owned(self, name: str) -> None:
        """Objects are encrypted, none can be public, and the account owns them."""
        bucket = BUCKETS[name]
        (rule,) = DEFAULTS.value(bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"])
        assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
        (rule,) = EVERYTHING.value(bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"])
        assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
        block = bucket["PublicAccessBlockConfiguration"]
        assert len(block) == 4
        assert all(value is True for value in block.values())
        assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]

    def test_only_by_tls(self, name: str) -> None:
        """Without TLS nobody does anything to the bucket or its objects; with an old one neither."""
        policy = policy_of("AWS::S3::BucketPolicy", "Bucket", name)
        both = [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}]
        assert denies_without_tls(policy, "s3:*") == both
        assert any(
            statement["Condition"] == {"NumericLessThan": {"s3:TlsVersion": "1.2"}}
            and statement["Resource"] == both
            for statement in policy
        )

    def test_kept_with_the_stack_gone_but_tidied(self, name: str) -> None:
        """Deleting the stack deletes no data; uploads that were given up vanish after a day."""
        assert RESOURCES[name]["DeletionPolicy"] == "RetainExceptOnCreate"
        assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"
        rules = BUCKETS[name]["LifecycleConfiguration"]["Rules"]
        assert {"DaysAfterInitiation": 1} in [rule.get("AbortIncompleteMultipartUpload") for rule in rules]


def test_renders_and_batches_expire_and_indices_do_not() -> None:
    """Renders and batches have a life time from parameters."""
    rules = BUCKETS["DataBucket"]["LifecycleConfiguration"]["Rules"]
    assert {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "ExpirationInDays" in rule} == {
        "renders/": {"Ref": "RenderRetentionDays"},
        "batches/": {"Ref": "BatchRetentionDays"},
    }


def test_every_queue_is_encrypted_and_only_by_tls() -> None:
    """Messages are encrypted where they lie and on their way."""
    for name, queue in QUEUES.items():
        assert DEFAULTS.value(queue["SqsManagedSseEnabled"]) is True
        assert EVERYTHING.value(queue)["KmsMasterKeyId"] == KEY
        policy = policy_of("AWS::SQS::QueuePolicy", "Queues", name)
        assert {"Fn::GetAtt": [name, "Arn"]} in denies_without_tls(policy, "sqs:*")


def test_every_queue_has_a_dead_letter_queue_that_an_alarm_watches() -> None:
    """What fails again and again is kept, for longer, and somebody hears of it."""
    dead = {
        name: queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
        for name, queue in QUEUES.items()
        if "RedrivePolicy" in queue
    }
    assert set(QUEUES) == set(dead) | set(dead.values())
    watched = [alarm.get("Dimensions") for alarm in of_type("AWS::CloudWatch::Alarm").values()]
    for name, letters in dead.items():
        assert QUEUES[letters]["MessageRetentionPeriod"] > QUEUES[name]["MessageRetentionPeriod"]
        assert [{"Name": "QueueName", "Value": {"Fn::GetAtt": [letters, "QueueName"]}}] in watched


def test_messages_stay_hidden_for_six_timeouts_and_the_batching_window() -> None:
    """No message comes a second time while its batch is still worked on; failures come back singly."""
    function = FUNCTIONS[by_folder("index_updates")]
    (event,) = function["Events"].values()
    source = event["Properties"]
    queue = QUEUES[source["Queue"]["Fn::GetAtt"][0]]
    assert queue["VisibilityTimeout"] >= 6 * function["Timeout"] + source["MaximumBatchingWindowInSeconds"]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "UpdateConcurrency"}}


def test_the_own_bucket_tells_the_queue_of_its_objects() -> None:
    """S3 sends what comes and goes in the bucket of the stack to the queue, without EventBridge between."""
    bucket = DEFAULTS.value(BUCKETS["DicomBucket"])["NotificationConfiguration"]
    assert {entry["Event"] for entry in bucket["QueueConfigurations"]} == {
        "s3:ObjectCreated:*",
        "s3:ObjectRemoved:*",
        "s3:LifecycleExpiration:DeleteMarkerCreated",
    }
    assert {entry["Queue"] for entry in bucket["QueueConfigurations"]} == {"ObjectsQueue.Arn"}
    assert RESOURCES["ObjectsRule"]["Condition"] == "HasDicomBucket"
    assert not DEFAULTS.condition("HasDicomBucket")
    # S3 tries the queue when it is told of it, so the permission comes first, and cannot name the bucket.
    assert RESOURCES["DicomBucket"]["DependsOn"] == "ObjectsQueuesPolicy"
    (sender,) = senders(DEFAULTS)
    assert sender["Principal"] == {"Service": "s3.amazonaws.com"}
    assert sender["Resource"] == "ObjectsQueue.Arn"
    assert sender["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "123456789012"},
        "ArnLike": {"aws:SourceArn": "arn:aws:s3:::*"},
    }


def test_the_rule_sees_the_series_of_an_existing_bucket_and_nothing_else() -> None:
    """Objects that come and go below the prefix of an existing bucket reach the queue through EventBridge."""
    rule = EVERYTHING.value(RESOURCES["ObjectsRule"]["Properties"])
    pattern = rule["EventPattern"]
    assert rule["State"] == "ENABLED"
    assert pattern["source"] == ["aws.s3"]
    assert pattern["detail-type"] == ["Object Created", "Object Deleted"]
    assert pattern["detail"] == {"bucket": {"name": ["pacs"]}, "object": {"key": [{"prefix": "ct/new/"}]}}
    whole = cloudformation.Evaluator(TEMPLATE, DicomBucketName="pacs")
    assert "object" not in whole.value(RESOURCES["ObjectsRule"]["Properties"])["EventPattern"]["detail"]
    (target,) = rule["Targets"]
    assert target["Arn"] == "ObjectsQueue.Arn"
    assert target["DeadLetterConfig"] == {"Arn": "ObjectsDeadLetters.Arn"}
    (sender,) = senders(EVERYTHING)
    assert sender["Principal"] == {"Service": "events.amazonaws.com"}
    assert sender["Condition"] == {"ArnEquals": {"aws:SourceArn": "ObjectsRule.Arn"}}


def senders(evaluator: cloudformation.Evaluator) -> list[dict[str, Any]]:
    """Who may send messages to the queues."""
    policy = evaluator.value(policy_of("AWS::SQS::QueuePolicy", "Queues", "ObjectsQueue"))
    return [statement for statement in policy if statement["Effect"] == "Allow"]


@pytest.mark.parametrize("name", FUNCTIONS)
class TestFunctions:
    """Every function."""

    def test_code_is_thin(self, name: str) -> None:
        """A function is one handler from the package, in at most twenty lines."""
        text = (PROJECT / FUNCTIONS[name]["CodeUri"] / "app.py").read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 20
        assigned = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
        assert [target.id for node in assigned for target in node.targets] == ["handler"]
        assert "from dicom_series_preview.aws import " in text

    def test_has_a_log_that_ends(self, name: str) -> None:
        """All write to one log, whose entries are kept as long as the parameter says."""
        assert "LoggingConfig" not in FUNCTIONS[name]
        log = GLOBALS["LoggingConfig"]["LogGroup"]["Ref"]
        assert RESOURCES[log]["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}
        assert {resource for action, resource in allowed(role_of(name)) if action.startswith("logs:")} == {
            f"{log}.Arn"
        }

    def test_may_do_what_it_needs(self, name: str) -> None:
        """Its role says so exactly: no managed policy of AWS, no action by wildcard."""
        role = role_of(name)
        for evaluator in (DEFAULTS, EVERYTHING):
            managed = evaluator.value(RESOURCES[role]["Properties"]["ManagedPolicyArns"])
            assert all(RESOURCES[policy]["Type"] == "AWS::IAM::ManagedPolicy" for policy in managed)
            for action, resource in allowed(role, evaluator):
                assert "*" not in action
                assert resource != "*" or ONLY_FOR_ALL.fullmatch(action), action

    def test_traces_if_wanted(self, name: str) -> None:
        """Tracing is a parameter, off by default, and not overridden."""
        assert "Tracing" not in FUNCTIONS[name]
        assert DEFAULTS.value(GLOBALS["Tracing"]) == "PassThrough"
        assert DEFAULTS.value(GLOBALS["Environment"]["Variables"]["PREVIEW_TRACING"]) == "false"
        assert not [action for action, _ in allowed(role_of(name), DEFAULTS) if action.startswith("xray:")]
        on = cloudformation.Evaluator(TEMPLATE, Tracing="on")
        assert on.value(GLOBALS["Tracing"]) == "Active"
        assert on.value(GLOBALS["Environment"]["Variables"]["PREVIEW_TRACING"]) == "true"
        assert [action for action, _ in allowed(role_of(name), on) if action.startswith("xray:")]

    def test_needs_no_build(self, name: str) -> None:
        """It is a folder with app.py, the layers bring the rest."""
        assert RESOURCES[name]["Metadata"] == {"SkipBuild": True}
        assert [path.name for path in (PROJECT / FUNCTIONS[name]["CodeUri"]).glob("[!_]*")] == ["app.py"]
        assert GLOBALS["Layers"] == [{"Ref": "DependenciesLayer"}, {"Ref": "PackageLayer"}]
        assert GLOBALS["Runtime"] == "python3.13"


def test_every_folder_is_a_function() -> None:
    """No function is forgotten in the template."""
    assert sorted(folder(name) for name in FUNCTIONS) == sorted(
        path.parent.name for path in (PROJECT / "functions").glob("*/app.py")
    )


READ_SERIES = {("s3:ListBucket", "arn:aws:s3:::DicomBucket"), ("s3:GetObject", "arn:aws:s3:::DicomBucket/*")}
READ_MANIFESTS = {("s3:GetObject", "DataBucket.Arn/manifests/*")}
FIND_DATA = {("s3:ListBucket", "DataBucket.Arn")}


def keep(*folders: str) -> set[tuple[str, str]]:
    """Reading and writing folders of the data bucket; who writes an index also gives back its claim."""
    claims = {("s3:DeleteObject", "DataBucket.Arn/indices/*.lock")} if "indices" in folders else set()
    return claims | {
        (action, f"DataBucket.Arn/{name}/*")
        for name in folders
        for action in ("s3:GetObject", "s3:PutObject")
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mosaic", READ_SERIES | FIND_DATA | keep("indices", "renders")),
        ("image", READ_SERIES | FIND_DATA | keep("indices", "renders")),
        ("contrast_mosaic", READ_SERIES | FIND_DATA | keep("indices", "renders")),
        ("index", READ_SERIES | FIND_DATA | keep("indices", "renders")),
        (
            "index_updates",
            READ_SERIES | FIND_DATA | keep("indices") | {("s3:DeleteObject", "DataBucket.Arn/indices/*")},
        ),
        ("batch_api", READ_SERIES | READ_MANIFESTS | FIND_DATA | keep("batches")),
        ("batch_prepare", READ_SERIES | READ_MANIFESTS | FIND_DATA | keep("batches")),
        ("batch_item", READ_SERIES | FIND_DATA | keep("indices", "renders", "batches")),
        ("batch_summary", READ_SERIES | READ_MANIFESTS | FIND_DATA | keep("batches")),
    ],
)
def test_what_each_function_may_do_in_s3(name: str, expected: set[tuple[str, str]]) -> None:
    """Series are only ever read, and of the data bucket each function has the folders it works in."""
    found = {
        (action, where) for action, where in allowed(role_of(by_folder(name))) if action.startswith("s3:")
    }
    assert found == expected


def test_an_existing_bucket_is_read_below_its_prefix_only() -> None:
    """Prefix, further buckets and the key appear in the policy when, and only when, they are given."""
    listed, read, *more, key = statements(
        RESOURCES["ReadSeriesPolicy"]["Properties"]["PolicyDocument"], EVERYTHING
    )
    assert read["Resource"] == "arn:aws:s3:::pacs/ct/new/*"
    assert listed["Resource"] == "arn:aws:s3:::pacs"
    assert listed["Condition"] == {"StringLike": {"s3:prefix": "ct/new/*"}}
    assert [(entry["Action"], entry["Resource"]) for entry in more] == [
        ("s3:ListBucket", ["arn:aws:s3:::other", "arn:aws:s3:::third"]),
        ("s3:GetObject", ["arn:aws:s3:::other/*", "arn:aws:s3:::third/*"]),
    ]
    assert (key["Action"], key["Resource"][-5:]) == ("kms:Decrypt", "key/1")
    plain = statements(RESOURCES["ReadSeriesPolicy"]["Properties"]["PolicyDocument"], DEFAULTS)
    assert [entry["Action"] for entry in plain] == ["s3:ListBucket", "s3:GetObject"]
    assert "Condition" not in plain[0]


def test_manifests_are_read_in_the_buckets_that_are_named() -> None:
    """Beside manifests/ in the data bucket, those buckets whose ARNs are given may be read, and found in."""
    own, listed, read = statements(
        RESOURCES["ReadManifestsPolicy"]["Properties"]["PolicyDocument"], EVERYTHING
    )
    assert (own["Action"], own["Resource"]) == ("s3:GetObject", "DataBucket.Arn/manifests/*")
    buckets = ["arn:aws:s3:::lists", "arn:aws:s3:::more-lists"]
    assert (listed["Action"], listed["Resource"]) == ("s3:ListBucket", buckets)
    assert (read["Action"], read["Resource"]) == ("s3:GetObject", [f"{bucket}/*" for bucket in buckets])


def test_the_manifest_of_the_readme_may_be_read() -> None:
    """What the README shows works: its manifest lies where the functions that read manifests may read."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    (place,) = re.findall(r'"manifest": "s3://DATA_BUCKET/([^"]+)"', text)
    for name in ("batch_api", "batch_prepare"):
        readable = [where for action, where in allowed(role_of(by_folder(name))) if action == "s3:GetObject"]
        assert [where for where in readable if fnmatch.fnmatchcase(f"DataBucket.Arn/{place}", where)], name


def test_the_batch_api_starts_asks_after_and_stops_batches_of_its_machine_only() -> None:
    """What it may do with Step Functions names the machine, its executions and its map runs, and no other."""
    where = "arn:aws:states:eu-central-1:123456789012"
    found = allowed(role_of(by_folder("batch_api")))
    assert {(action, resource) for action, resource in found if action.startswith("states:")} == {
        ("states:StartExecution", "BatchMachine"),
        ("states:DescribeExecution", f"{where}:execution:BatchMachine.Name:*"),
        ("states:ListMapRuns", f"{where}:execution:BatchMachine.Name:*"),
        ("states:StopExecution", f"{where}:execution:BatchMachine.Name:*"),
        ("states:DescribeMapRun", f"{where}:mapRun:BatchMachine.Name/*:*"),
    }
    for function in set(FUNCTIONS) - {by_folder("batch_api")}:
        assert not [action for action, _ in allowed(role_of(function)) if action.startswith("states:")]


@pytest.mark.parametrize(
    ("evaluator", "roots"),
    [
        (DEFAULTS, {"default": "s3://DicomBucket"}),
        (
            EVERYTHING,
            {"default": "s3://pacs/ct/new", "idc": "s3://idc-open-data", "more": "s3://other/x"},
        ),
    ],
)
def test_functions_are_told_the_roots(evaluator: cloudformation.Evaluator, roots: dict[str, str]) -> None:
    """PREVIEW_ROOTS is JSON: the DICOM bucket as `default`, and what Roots adds."""
    variables = evaluator.value(GLOBALS["Environment"]["Variables"])
    assert json.loads(variables["PREVIEW_ROOTS"]) == roots
    assert variables["PREVIEW_DATA"] == "s3://DataBucket"
    assert set(variables) == {
        "OPENBLAS_NUM_THREADS",
        "PREVIEW_ROOTS",
        "PREVIEW_DATA",
        "PREVIEW_SERIES_DEPTH",
        "PREVIEW_TRACING",
        "POWERTOOLS_SERVICE_NAME",
        "POWERTOOLS_METRICS_NAMESPACE",
        "POWERTOOLS_LOG_LEVEL",
    }
    assert FUNCTIONS[by_folder("batch_api")]["Environment"]["Variables"] == {
        "PREVIEW_BATCH_STATE_MACHINE": {"Ref": "BatchMachine"},
        "PREVIEW_BATCHES_AT_ONCE": {"Ref": "BatchLimit"},
    }
    assert FUNCTIONS[by_folder("batch_prepare")]["Environment"]["Variables"] == {
        "PREVIEW_BATCH_SERIES": {"Ref": "BatchSeriesLimit"}
    }


def test_defaults_of_batches_are_those_of_the_package() -> None:
    """A deployment that sets nothing has the limits that the package has by itself."""
    module = ast.parse(
        (PROJECT / "shared/dicom_series_preview/aws/environment.py").read_text(encoding="utf-8")
    )
    numbers = {
        node.targets[0].id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    parameters = TEMPLATE["Parameters"]
    assert parameters["BatchLimit"]["Default"] == numbers["BATCHES_AT_ONCE"]
    # No more fit the memory of the summary.
    series = parameters["BatchSeriesLimit"]
    assert series["Default"] == series["MaxValue"] == numbers["BATCH_SERIES"]


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("{}", True),
        ('{"idc": "s3://idc-open-data"}', True),
        ('{"a":"s3://x/y","b":"https://h/p"}', True),
        ("", False),
        ("{ }", False),
        ('{"a": "file:///etc"}', False),
        ('{"a": "s3://x"', False),
        ('{"a": {"b": "s3://x"}}', False),
        ('{"a": "s3://x", }', False),
    ],
)
def test_only_roots_that_join_to_json_are_accepted(text: str, fits: bool) -> None:  # noqa: FBT001
    """The parameter's pattern lets through what makes PREVIEW_ROOTS JSON, and no local files."""
    assert bool(re.fullmatch(TEMPLATE["Parameters"]["Roots"]["AllowedPattern"], text)) is fits


def test_concurrency_is_capped_where_it_is_asked_for() -> None:
    """Functions of the API reserve nothing by default, since small accounts have nothing to give."""
    for route in set(ROUTES.values()) - {"batch_api"}:
        function = FUNCTIONS[by_folder(route)]
        assert DEFAULTS.value(function).get("ReservedConcurrentExecutions") is None
        assert EVERYTHING.value(function)["ReservedConcurrentExecutions"] == "7"


class TestApi:
    """The HTTP API."""

    def test_routes(self) -> None:
        """The routes are the specification's, and each reaches its function, which the API may call."""
        integrations = of_type("AWS::ApiGatewayV2::Integration")
        connector = RESOURCES["Api"]["Connectors"]["Functions"]["Properties"]
        assert connector["Permissions"] == ["Write"]
        permitted = [entry["Id"] for entry in connector["Destination"]]
        found = {}
        for route in of_type("AWS::ApiGatewayV2::Route").values():
            integration = integrations[
                re.fullmatch(r"integrations/\$\{(\w+)\}", route["Target"]["Fn::Sub"])[1]
            ]
            assert integration["PayloadFormatVersion"] == "2.0"
            function = integration["IntegrationUri"]["Fn::GetAtt"][0]
            assert function in permitted
            assert FUNCTIONS[function]["Timeout"] < 30
            found[route["RouteKey"]] = folder(function)
        assert found == ROUTES

    @pytest.mark.parametrize(("mode", "kind"), [("IAM", "AWS_IAM"), ("JWT", "JWT"), ("NONE", "NONE")])
    def test_every_route_asks_who_you_are(self, mode: str, kind: str) -> None:
        """All routes that only show have the deployment's authorization, and only JWT has an authorizer."""
        evaluator = cloudformation.Evaluator(TEMPLATE, AuthMode=mode)
        for route in of_type("AWS::ApiGatewayV2::Route").values():
            answer = evaluator.value(route)
            assert answer.get("AuthorizerId") == ("JwtAuthorizer" if mode == "JWT" else None)
            if "/batches" not in answer["RouteKey"]:
                assert answer["AuthorizationType"] == kind
                assert "AuthorizationScopes" not in answer

    @pytest.mark.parametrize(
        ("mode", "kind", "scopes"),
        [("IAM", "AWS_IAM", None), ("JWT", "JWT", ["work"]), ("NONE", "AWS_IAM", None)],
    )
    def test_batches_are_never_open(self, mode: str, kind: str, scopes: list[str] | None) -> None:
        """Batches need AWS credentials or a scope, whoever may look at series."""
        evaluator = cloudformation.Evaluator(TEMPLATE, AuthMode=mode, JwtBatchScope="work")
        routes = [evaluator.value(route) for route in of_type("AWS::ApiGatewayV2::Route").values()]
        batches = {route["RouteKey"]: route for route in routes if "/batches" in route["RouteKey"]}
        assert set(batches) == {key for key, folder in ROUTES.items() if folder == "batch_api"}
        for route in batches.values():
            assert (route["AuthorizationType"], route.get("AuthorizationScopes")) == (kind, scopes)

    def test_a_scope_is_never_empty(self) -> None:
        """The scope that batches need has a default, and cannot be set to nothing."""
        scope = TEMPLATE["Parameters"]["JwtBatchScope"]
        for text, fits in [(scope["Default"], True), ("batch:write", True), ("", False), ("a b", False)]:
            assert bool(re.fullmatch(scope["AllowedPattern"], text)) is fits

    def test_iam_unless_said_otherwise(self) -> None:
        """The default is IAM, and NONE is refused without a second, explicit word."""
        parameters = TEMPLATE["Parameters"]
        assert parameters["AuthMode"]["Default"] == "IAM"
        assert parameters["AllowUnauthenticated"]["Default"] == "no"
        for mode, given, passes in [
            ("NONE", {}, False),
            ("NONE", {"AllowUnauthenticated": "yes-i-mean-it"}, True),
            ("JWT", {"JwtIssuer": "https://i"}, False),
            ("JWT", {"JwtIssuer": "https://i", "JwtAudience": "a"}, True),
            ("IAM", {}, True),
        ]:
            evaluator = cloudformation.Evaluator(TEMPLATE, AuthMode=mode, **given)
            assert passes is all(
                evaluator.value(assertion["Assert"])
                for rule in TEMPLATE["Rules"].values()
                if evaluator.value(rule.get("RuleCondition", True))
                for assertion in rule["Assertions"]
            ), mode

    def test_the_access_log_names_no_series(self) -> None:
        """It is JSON of routes, numbers and callers: no path, query or header, which may name a patient."""
        settings = RESOURCES["ApiStage"]["Properties"]
        entry = json.loads(settings["AccessLogSettings"]["Format"])
        assert {"$context.routeKey", "$context.status"} <= set(entry.values())
        assert not [
            value for value in entry.values() if re.search(r"path|query|header|domain", value, re.IGNORECASE)
        ]
        assert settings["DefaultRouteSettings"]["ThrottlingRateLimit"]
        assert settings["DefaultRouteSettings"]["ThrottlingBurstLimit"]


def test_all_logs_end() -> None:
    """Every log group has the parameter's retention."""
    for log in of_type("AWS::Logs::LogGroup").values():
        assert log["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_what_is_watched() -> None:
    """Alarms cover faults and throttles that callers meet, dead letters, changes that wait, and batches."""
    alarms = of_type("AWS::CloudWatch::Alarm")
    assert {alarm.get("MetricName") for alarm in alarms.values()} == {
        "ApproximateNumberOfMessagesVisible",
        "ApproximateAgeOfOldestMessage",
        "ApiFaults",
        "ApiThrottles",
        None,
    }
    metrics = [entry["MetricStat"]["Metric"] for entry in alarms["BatchesFailedAlarm"]["Metrics"][1:]]
    assert {metric["MetricName"] for metric in metrics} == {"ExecutionsFailed", "ExecutionsTimedOut"}
    for alarm in alarms.values():
        assert DEFAULTS.value(alarm["AlarmActions"]) == []
        assert EVERYTHING.value(alarm["AlarmActions"]) == ["AlarmTopic"]


def test_the_dashboard_is_json_of_what_exists() -> None:
    """It is made where it is asked for; its body parses, and shows every function."""
    assert RESOURCES["Dashboard"]["Condition"] == "HasDashboard"
    assert [entry.condition("HasDashboard") for entry in (DEFAULTS, EVERYTHING)] == [False, True]
    body = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]
    assert json.loads(DEFAULTS.value(body))["widgets"]
    names = set(re.findall(r"\$\{(\w+)[.}]", body["Fn::Sub"])) - {"AWS"}
    assert set(FUNCTIONS) <= names <= set(RESOURCES)


def test_layers_are_built_for_the_processor_they_run_on() -> None:
    """Each processor has a Makefile, and the template takes the one of its parameter."""
    layer = RESOURCES["DependenciesLayer"]
    for architecture in TEMPLATE["Parameters"]["Architecture"]["AllowedValues"]:
        evaluator = cloudformation.Evaluator(TEMPLATE, Architecture=architecture)
        assert (PROJECT / evaluator.value(layer["Metadata"]["ContextPath"]) / "Makefile").is_file()
        assert evaluator.value(layer["Properties"]["CompatibleArchitectures"]) == [architecture]
        assert evaluator.value(GLOBALS["Architectures"]) == [architecture]


def test_configuration_names_no_account() -> None:
    """samconfig.toml has neither a region nor a bucket, role or account."""
    text = (PROJECT / "samconfig.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)["default"]
    assert not {"region", "profile", "s3_bucket", "role_arn"} & {
        key for table in tables.values() for key in table["parameters"]
    }
    assert not re.search(r"\d{12}", text + (PROJECT / "template.yaml").read_text(encoding="utf-8"))
