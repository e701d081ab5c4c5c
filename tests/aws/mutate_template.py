"""Break the template in every way that this can think of: each must fail a test of test_template.py.

The named kinds are what a careless change would do. After them every leaf is dropped or changed, every choice
between two values is turned round, every reference is pointed at another resource of its type, and every
action and resource of a policy is widened. What may survive stands in MEANINGLESS, with its reason.

Run it as `make mutate-template`, or with `KINDS="'public' 'without TLS'"` for some kinds alone.
"""

import copy
import inspect
import itertools
import multiprocessing
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from collections.abc import Callable, Iterator

import cloudformation

PROJECT = Path(__file__).parents[2]
TESTS = Path(__file__).with_name("test_template.py")
CODE = compile(TESTS.read_text(encoding="utf-8"), str(TESTS), "exec")

ON, OFF = True, False
MEANINGLESS = {
    r"(^|/)((Assert|Alarm)?Description|Label|Sid)/(drop|change)$": "is only read by people",
    r"^Outputs/NotifyCommand/Value/Fn::If/2/Fn::Sub/change": "is only read by people",
    r"/((Rules|Targets|Metrics)/\d+/Id|PolicyName|JwtAuthorizer/Properties/Name)/change": "is any name",
    r"/LifecycleConfiguration/Rules/\d+/Id/drop": "is any name",
    r"Log/Properties/LogGroupName/Fn::Sub/change": "is any name",
    r"^Conditions/\w+/Fn::Not/0/Fn::Equals/0/Fn::Join/0/change": "joins a list that is empty or is not",
}
"""By pattern of the path: why a test need not see it."""


@dataclass(frozen=True)
class Mutant:
    """A template with one fault.

    Attributes:
        name: Where it is, and what was done.
        path: The keys that lead there.
        change: What is done to the mapping or list that holds it.
    """

    name: str
    path: tuple[Any, ...]
    change: Callable[[Any, Any], None]

    def template(self, original: dict[str, Any]) -> dict[str, Any]:
        """The template with the fault in it."""
        broken = copy.deepcopy(original)
        holder = broken
        for key in self.path[:-1]:
            holder = holder[key]
        self.change(holder, self.path[-1])
        return broken


def to(value: Any) -> Callable[[Any, Any], None]:
    """Put another value there."""

    def change(holder: Any, key: Any) -> None:
        holder[key] = value

    return change


def drop(holder: Any, key: Any) -> None:
    """Take away what is there."""
    del holder[key]


# --- Every leaf ---------------------------------------------------------------------------------------------


def everywhere(template: dict[str, Any]) -> Iterator[Mutant]:
    """A mutant for all that can be done to each part of a template."""
    types: dict[str, list[str]] = {}
    for name, resource in template["Resources"].items():
        types.setdefault(resource["Type"], []).append(name)
    others = {
        name: next((other for other in names if other != name), None)
        for names in types.values()
        for name in names
    }
    for path, node in _nodes(template, ()):
        name = "/".join(map(str, path))
        # An intrinsic function without its argument, or with one argument less, is none.
        if not str(path[-1]).startswith(("Fn::", "Ref")) and not _is_argument(path):
            yield Mutant(f"{name}/drop", path, drop)
        for what, value in _changes(path, node, others):
            if value != node:
                yield Mutant(f"{name}/{what}", path, to(value))


def _nodes(node: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*path, key), child
        yield from _nodes(child, (*path, key))


def _is_argument(path: tuple[Any, ...]) -> bool:
    return len(path) > 1 and isinstance(path[-1], int) and str(path[-2]).startswith("Fn::")


def _changes(path: tuple[Any, ...], node: Any, others: dict[str, str | None]) -> Iterator[tuple[str, Any]]:
    if isinstance(node, bool):
        yield "turned", not node
    elif isinstance(node, int):
        yield "thousandfold", node * 1000 or 1_000_000
        yield "nothing", 0 if node else -1
    elif isinstance(node, str):
        yield "change", f"{node}-x"
        if path[-1] == "Ref" and others.get(node):
            yield "other", others[node]
    elif path[-1] == "Fn::GetAtt" and others.get(node[0]):
        yield "other", [others[node[0]], node[1]]
    elif path[-1] == "Fn::If":
        yield "turned", [node[0], node[2], node[1]]
    if path[-1] in ("Action", "Resource"):
        yield "all", "*"
        if path[-1] == "Action":
            first = node[0] if isinstance(node, list) else node
            yield "all of the service", f"{first.partition(':')[0]}:*"
    if path[-1] == "Principal":
        yield "everyone", "*"


# --- What a careless change would do ------------------------------------------------------------------------


def kinds(template: dict[str, Any]) -> dict[str, list[Mutant]]:
    """By name, faults that have to be seen, each with the places where it can be made."""
    resources = template["Resources"]
    updates = ("Resources", "IndexUpdatesFunction", "Properties")
    source = (*updates, "Events", "Objects", "Properties")
    queue = ("Resources", "ObjectsQueue", "Properties")
    own = ("Resources", "DicomBucket", "Properties", "NotificationConfiguration")
    target = ("Resources", "ObjectsRule", "Properties", "Targets", 0)
    told = ("Resources", "DataBucket", "Properties", "NotificationConfiguration")
    looks = ("Resources", "CatalogueQueue", "Properties")
    folds = ("Resources", "CatalogueFoldFunction", "Properties", "Events", "Indices", "Properties")
    shared = ("Globals", "Function")
    limits = ("Resources", "ApiStage", "Properties", "DefaultRouteSettings")
    statements = [path for path, node in _nodes(template, ()) if isinstance(node, dict) and "Effect" in node]
    denials = [path for path in statements if _get(template, path)["Effect"] == "Deny"]
    allowances = [path for path in statements if "Resource" in _get(template, path) and path not in denials]
    actions = [(path, _listed(_get(template, path)["Action"])) for path in allowances]

    def of(kind: str, *below: Any) -> list[tuple[Any, ...]]:
        """Where each resource of a type has something."""
        found = [("Resources", name, *below) for name, entry in resources.items() if entry["Type"] == kind]
        return [path for path in found if _has(template, path)]

    def buckets(*below: Any) -> list[tuple[Any, ...]]:
        return of("AWS::S3::Bucket", *below)

    def functions(*below: Any) -> list[tuple[Any, ...]]:
        return of("AWS::Serverless::Function", *below)

    def alarms(*below: Any) -> list[tuple[Any, ...]]:
        return of("AWS::CloudWatch::Alarm", *below)

    def routes(*below: Any) -> list[tuple[Any, ...]]:
        return of("AWS::ApiGatewayV2::Route", "Properties", *below)

    blocks = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    block = ("Properties", "PublicAccessBlockConfiguration")
    rules = [
        (*path, index)
        for path in buckets("Properties", "LifecycleConfiguration", "Rules")
        for index in range(len(_get(template, path)))
    ]
    layer = "AWS::Serverless::LayerVersion"
    return {
        "the rule is disabled": _put("DISABLED", (*target[:3], "State")),
        "the bucket does not tell": _drop(own, *((*own, "QueueConfigurations", index) for index in range(3)))
        + _put({"EventBridgeConfiguration": {}}, own),
        "the catalogue does not hear": _drop(
            told,
            (*looks, "RedrivePolicy"),
            (*folds, "FunctionResponseTypes"),
            ("Resources", "CatalogueDeadLetters"),
            *((*told, "QueueConfigurations", index) for index in range(4)),
            *((*told, "QueueConfigurations", index, "Filter") for index in range(4)),
        )
        + _put(1000, (*looks, "RedrivePolicy", "maxReceiveCount"))
        + _put(30, (*looks, "VisibilityTimeout"), (*folds, "ScalingConfig", "MaximumConcurrency"))
        + _put({"Fn::GetAtt": ["CatalogueDeadLetters", "Arn"]}, (*folds, "Queue")),
        "patients are shown": _put("keep", ("Parameters", "Identifiers", "Default"))
        + _drop(("Parameters", "HashKey", "NoEcho"), ("Rules", "HashesHaveAKey"))
        + _put("x", ("Parameters", "HashKey", "Default")),
        "an action is missing": _drop(
            *(
                (*path, "Action", index) if len(names) > 1 else path
                for path, names in actions
                for index in range(len(names))
            )
        ),
        "an action is widened": [
            mutant
            for path, names in actions
            for mutant in (
                *_put("*", (*path, "Action")),
                *_put([*names, f"{names[0].partition(':')[0]}:*"], (*path, "Action")),
            )
        ],
        "a resource is widened": _put(
            "*", *((*path, "Resource") for path in allowances if _get(template, path)["Resource"] != "*")
        ),
        "a route asks nobody": _put("NONE", *routes("AuthorizationType")) + _drop(*routes("AuthorizerId")),
        "anybody starts work": _put("NONE", ("Mappings", "Authorization", "NONE", "Work"))
        + _drop(*routes("AuthorizationScopes"))
        + _put([], *routes("AuthorizationScopes")),
        "a conversion without room": _drop(
            ("Resources", "BatchConvertFunction", "Properties", "EphemeralStorage"),
            ("Resources", "BatchConvertFunction", "Properties", "Layers"),
            ("Resources", "BatchConvertFunction", "Properties", "ReservedConcurrentExecutions"),
        )
        + _put(
            {"Size": 512},
            ("Resources", "BatchConvertFunction", "Properties", "EphemeralStorage"),
        )
        + _put(
            {"Ref": "BatchItemRole"},
            ("Resources", "BatchConvertFunction", "Properties", "Role"),
        )
        + _put(
            {"Fn::GetAtt": ["BatchItemFunction", "Arn"]},
            ("Resources", "BatchMachine", "Properties", "DefinitionSubstitutions", "ConvertFunction"),
        ),
        "batches without bounds": _put(
            1_000_000,
            *(
                ("Parameters", name, "Default")
                for name in ("BatchLimit", "BatchSeriesLimit", "BatchConcurrency")
            ),
        )
        + _drop(*functions("Properties", "Environment")),
        "tokens for anybody": _put(
            [], *of("AWS::ApiGatewayV2::Authorizer", "Properties", "JwtConfiguration", "Audience")
        ),
        "open by default": _put("NONE", ("Parameters", "AuthMode", "Default"))
        + _put("yes-i-mean-it", ("Parameters", "AllowUnauthenticated", "Default"))
        + _drop(("Rules", "UnauthenticatedIsMeant"), ("Rules", "JwtIsWhole")),
        "a million requests a second": _put(
            1_000_000,
            (*limits, "ThrottlingRateLimit"),
            (*limits, "ThrottlingBurstLimit"),
            ("Parameters", "ApiRateLimit", "Default"),
            ("Parameters", "ApiBurstLimit", "Default"),
        )
        + _drop(limits),
        "never put aside": _put(1000, (*queue, "RedrivePolicy", "maxReceiveCount")),
        "no dead-letter queue": _drop(
            (*queue, "RedrivePolicy"), (*target, "DeadLetterConfig"), ("Resources", "ObjectsDeadLetters")
        ),
        "visible too soon": _put(30, (*queue, "VisibilityTimeout")) + _put(900, (*updates, "Timeout")),
        "not encrypted": _drop(
            *buckets("Properties", "BucketEncryption"),
            *of("AWS::SQS::Queue", "Properties", "SqsManagedSseEnabled"),
            *of("AWS::SQS::Queue", "Properties", "KmsMasterKeyId"),
            *of("AWS::Logs::LogGroup", "Properties", "KmsKeyId"),
        ),
        "public": _drop(*buckets(*block))
        + _put(OFF, *(path for name in blocks for path in buckets(*block, name))),
        "without TLS": _drop(*denials),
        "logs for ever": _drop(*of("AWS::Logs::LogGroup", "Properties", "RetentionInDays")),
        "one failure fails all": _drop((*source, "FunctionResponseTypes"))
        + _put([], (*source, "FunctionResponseTypes")),
        "too short or too long": _put(3, *functions("Properties", "Timeout"), (*shared, "Timeout"))
        + _put(900, *functions("Properties", "Timeout")),
        "another memory": _put(128, (*shared, "MemorySize"), *(functions("Properties", "MemorySize")))
        + _put(128, *((*path, "MemorySize") for path in functions("Properties"))),
        "another queue": _put({"Fn::GetAtt": ["ObjectsDeadLetters", "Arn"]}, (*source, "Queue"))
        + _put(OFF, (*source, "Enabled")),
        "kept for ever": _drop(*rules) + _put("Disabled", *((*path, "Status") for path in rules)),
        "an alarm that cannot fire": _drop(*alarms())
        + [
            mutant
            for field, value in {
                "MetricName": "Other",
                "Namespace": "Other",
                "Statistic": "Minimum",
                "ComparisonOperator": "LessThanThreshold",
                "Threshold": 1_000_000,
                "TreatMissingData": "breaching",
                "Dimensions": [{"Name": "QueueName", "Value": "other"}],
                "AlarmActions": [],
            }.items()
            for mutant in _put(value, *alarms("Properties", field))
        ],
        "a layer is missing": _drop((*shared, "Layers", 0), (*shared, "Layers", 1), *of(layer)),
        "another processor": _put(
            ["arm64"], (*shared, "Architectures"), *of(layer, "Properties", "CompatibleArchitectures")
        )
        + _put("arm64", *of(layer, "Metadata", "BuildArchitecture")),
        "pages of any origin": _put(
            {"AllowOrigins": ["*"]}, ("Resources", "Api", "Properties", "CorsConfiguration")
        )
        + _drop(("Parameters", "CorsOrigins", "AllowedPattern")),
        "an output is missing": _drop(*(("Outputs", name) for name in template["Outputs"])),
        "deleted with the stack": _drop(*buckets("DeletionPolicy"), *buckets("UpdateReplacePolicy"))
        + _put("Delete", *buckets("DeletionPolicy"), *buckets("UpdateReplacePolicy")),
        "another door": _put(
            {"AuthType": "NONE"}, *((*path, "FunctionUrlConfig") for path in functions("Properties"))
        )
        + _put(
            {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"},
            *(
                (*path, 0)
                for path in of("AWS::S3::BucketPolicy", "Properties", "PolicyDocument", "Statement")
            ),
        )
        + _put({"Type": "AWS::Lambda::Url", "Properties": {"AuthType": "NONE"}}, ("Resources", "AnotherUrl")),
        "names in a log": _put(
            ON, ("Resources", "BatchMachine", "Properties", "Logging", "IncludeExecutionData")
        )
        + _put(
            '{"path": "$context.path"}',
            ("Resources", "ApiStage", "Properties", "AccessLogSettings", "Format"),
        ),
    }


def _put(value: object, *paths: tuple[Any, ...]) -> list[Mutant]:
    return [Mutant(f"{'/'.join(map(str, path))} = {value}", path, to(value)) for path in paths]


def _drop(*paths: tuple[Any, ...]) -> list[Mutant]:
    return [Mutant(f"{'/'.join(map(str, path))}/drop", path, drop) for path in paths]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _get(node: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


def _has(node: Any, path: tuple[Any, ...]) -> bool:
    try:
        _get(node, path)
    except (KeyError, IndexError, TypeError):
        return False
    return True


# --- Trying them --------------------------------------------------------------------------------------------


def tests_of(module: dict[str, Any]) -> Iterator[Callable[[], None]]:
    """The tests of a module with what they are parametrized by, but those that need a fixture."""
    for name, found in list(module.items()):
        if name.startswith("test_") and not _marked(found, "aws"):
            yield from _calls(found, [], ())
        elif name.startswith("Test") and inspect.isclass(found):
            made = found()
            for method in (entry for entry in dir(found) if entry.startswith("test_")):
                yield from _calls(getattr(found, method), getattr(found, "pytestmark", []), (made,))


def _marked(test: Any, name: str) -> bool:
    return any(mark.name == name for mark in getattr(test, "pytestmark", []))


def _calls(test: Any, marks: list[Any], given: tuple[Any, ...]) -> Iterator[Callable[[], None]]:
    choices = []
    for mark in [*marks, *getattr(test, "pytestmark", [])]:
        if mark.name == "parametrize":
            names, values = mark.args
            single = isinstance(names, str)
            choices.append(
                [{names: value} if single else dict(zip(names, value, strict=True)) for value in values]
            )
    for chosen in itertools.product(*choices):
        merged = {key: value for choice in chosen for key, value in choice.items()}
        yield lambda merged=merged: test(*given, **merged)


def survives(template: dict[str, Any]) -> bool:
    """Whether all tests pass with a template."""
    original, cloudformation.load = cloudformation.load, lambda _: template
    module: dict[str, Any] = {"__name__": "test_template", "__file__": str(TESTS)}
    try:
        exec(CODE, module)  # noqa: S102 - our own tests
        for test in tests_of(module):
            test()
    except Exception:  # noqa: BLE001 - whatever a test or what it reads says
        return False
    finally:
        cloudformation.load = original
    return True


def excuse(name: str) -> str | None:
    """Why a mutant may survive."""
    return next((reason for pattern, reason in MEANINGLESS.items() if re.search(pattern, name)), None)


def survivors(template: dict[str, Any], mutants: list[Mutant]) -> list[str]:
    """The names of those that no test sees."""
    # Forked workers inherit the mutants, whose functions cannot be pickled.
    _TO_TRY[:] = [(template, mutant) for mutant in mutants]
    with multiprocessing.get_context("fork").Pool(min(4, os.cpu_count() or 1)) as pool:
        alive = pool.map(_survives, range(len(mutants)), chunksize=4)
    return [mutant.name for mutant, lives in zip(mutants, alive, strict=True) if lives]


_TO_TRY: list[tuple[dict[str, Any], Mutant]] = []


def _survives(index: int) -> bool:
    template, mutant = _TO_TRY[index]
    return survives(mutant.template(template))


def main(names: list[str]) -> int:
    """Try the kinds of these names, or all of them and every leaf; 1 when a fault is not seen."""
    template = cloudformation.load(PROJECT / "template.yaml")
    if not survives(template):
        print("the tests fail without any fault: mend those first")  # noqa: T201 - what it is for
        return 1
    named = {name: found for name, found in kinds(template).items() if not names or name in names}
    unseen = 0
    for name, mutants in named.items():
        alive = survivors(template, mutants)
        unseen += bool(alive)
        print(f"{name}: {len(mutants)} faults, {len(alive)} not seen", *alive, sep="\n    ", flush=True)  # noqa: T201
    print(f"{unseen} of {len(named)} kinds survive")  # noqa: T201
    if not names:
        leaves = list(everywhere(template))
        alive = survivors(template, leaves)
        excused = {name: excuse(name) for name in alive}
        open_ = [name for name, reason in excused.items() if reason is None]
        for reason in sorted({reason for reason in excused.values() if reason}):
            print(f"may survive, since it {reason}: {list(excused.values()).count(reason)}")  # noqa: T201
        print(f"{len(open_)} of {len(leaves)} changes of a leaf survive", *open_, sep="\n    ")  # noqa: T201
        unseen += bool(open_)
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
