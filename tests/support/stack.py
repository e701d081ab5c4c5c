"""The deployment on one machine: what `sam build` has made, behind its HTTP API.

Around the functions in the Lambda runtime (`runtime`) stand API Gateway and Lambda's API (`gateway`), a real
S3 server (seaweedfs) and moto's Step Functions. All listen on 127.0.0.1, and all end with their context.

What this cannot show: memory limits, throttling, tracing, and failures of Distributed Map, which moto takes
for successes. IAM it shows as far as S3 goes: each function has a key of its own, which may do to a bucket
what the role in the template allows.
"""

import fnmatch
import hashlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

import cloudformation
import counting
import servers
from gateway import ACCOUNT, REGION, Answer, Gateway, HttpServer, Route, fetch, lambda_api
from runtime import Artefacts, Function

DICOM_BUCKET, DATA_BUCKET, SECRET_BUCKET = "dicom-bucket", "data-bucket", "secret-bucket"
QUEUE_URL = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/objects"
LOOKS_URL = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/looks"
MACHINE_ARN = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:preview"


@dataclass(frozen=True)
class S3Server:
    """A real S3 server.

    Attributes:
        endpoint: Its address.
    """

    endpoint: str

    def client(self) -> Any:
        """A client that may do anything."""
        return client("s3", self.endpoint, "admin")


def client(service: str, endpoint: str, key: str) -> Any:
    """A client of one of the stand-ins; a secret is its key, backwards."""
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret_of(key),
    )


def secret_of(key: str) -> str:
    """The secret of an access key."""
    return key[::-1].lower()


@contextmanager
def s3_server(scratch: Path, grants: Mapping[str, list[str]]) -> Iterator[S3Server]:
    """Run seaweedfs.

    Args:
        scratch: Where it keeps everything.
        grants: By access key, what it may do: `Read:bucket` and the like. `admin` may do anything.
    """
    identities = [
        {"name": key, "credentials": [{"accessKey": key, "secretKey": secret_of(key)}], "actions": actions}
        for key, actions in {"admin": ["Admin", "Read", "Write", "List", "Tagging"], **grants}.items()
    ]
    configuration = scratch / "s3.json"
    configuration.write_text(json.dumps({"identities": identities}), encoding="utf-8")
    (scratch / "s3").mkdir()
    ports = {
        name: servers.free_port()
        for part in ("master", "volume", "filer", "s3")
        for name in (f"{part}.port", f"{part}.port.grpc")
    }
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    command = [
        weed,
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={scratch / 's3'}",
        "-filer",
        "-s3",
    ]
    command += [f"-{name}={port}" for name, port in ports.items()]
    command += [f"-s3.config={configuration}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-metricsPort=0"]
    command += ["-master.telemetry=false", "-volume.max=0", "-master.volumeSizeLimitMB=256"]
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    with _running(command, endpoint, scratch / "s3.log", sockets=ports.values()):
        server = S3Server(endpoint)
        _until(lambda: server.client().create_bucket(Bucket=DICOM_BUCKET))
        for name in (DATA_BUCKET, SECRET_BUCKET):
            server.client().create_bucket(Bucket=name)
        _until(lambda: server.client().put_object(Bucket=SECRET_BUCKET, Key="hidden/a.dcm", Body=b"x"))
        yield server


@contextmanager
def _running(command: list[str], url: str, log: Path, sockets: Iterable[int] = ()) -> Iterator[None]:
    """Run a server whose data nobody wants afterwards: asked to end, seaweedfs takes its time."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        servers.wait_until_answers(url, process)
        yield
    finally:
        process.kill()
        process.wait()
        for port in sockets:
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 - its choice
                path.unlink(missing_ok=True)


def _until(succeed: Callable[[], Any]) -> None:
    """Try until it succeeds: a server that listens may not be ready."""
    deadline = time.monotonic() + 30
    while True:
        try:
            succeed()
        except (BotoCoreError, ClientError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


# The state machine's own calls go to our S3 and Lambda instead of moto's.
_MOTO = """
import json, sys
import boto3
from moto.server import main

endpoints = json.loads(sys.argv[1])
original = boto3.client

def client(**given):
    return original(**{**given, **endpoints[given["service_name"]]})

boto3.client = client
main(["-H", "127.0.0.1", "-p", sys.argv[2]])
"""


@contextmanager
def step_functions(scratch: Path, s3: S3Server, lambda_url: str, definition: str) -> Iterator[str]:
    """Run a state machine and the queues on moto; gives the address of its Step Functions and its SQS."""
    port = servers.free_port()
    endpoints = {
        "s3": {
            "endpoint_url": s3.endpoint,
            "aws_access_key_id": "states",
            "aws_secret_access_key": secret_of("states"),
        },
        "lambda": {"endpoint_url": lambda_url},
    }
    command = [sys.executable, "-c", _MOTO, json.dumps(endpoints), str(port)]
    endpoint = f"http://127.0.0.1:{port}"
    with _running(command, f"{endpoint}/moto-api/data.json", scratch / "moto.log"):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        setting = json.dumps({"stepfunctions": {"execute_state_machine": True}})
        connection.request("POST", "/moto-api/config", setting)
        assert connection.getresponse().status < 300
        connection.close()
        made = client("stepfunctions", endpoint, "admin").create_state_machine(
            name=MACHINE_ARN.rpartition(":")[2],
            definition=definition,
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/states",
        )
        assert made["stateMachineArn"] == MACHINE_ARN
        for url in (QUEUE_URL, LOOKS_URL):
            client("sqs", endpoint, "admin").create_queue(QueueName=url.rpartition("/")[2])
        yield endpoint


@dataclass(frozen=True)
class Stack:
    """The deployment.

    Attributes:
        artefacts: What runs.
        functions: By logical name.
        url: The HTTP API.
        s3: The S3 server.
        states: The address of Step Functions and of the queue of changes.
        logs: The folder of all sandboxes' output.
        evaluator: The template's values.
    """

    artefacts: Artefacts
    functions: Mapping[str, Function]
    url: str
    s3: S3Server
    states: str
    logs: Path
    evaluator: cloudformation.Evaluator
    _proxies: Mapping[str, counting.CountingProxy]

    def requests(self, function: str) -> list[counting.Seen]:
        """What a function has asked S3 for."""
        return self._proxies[function].seen

    def log(self) -> dict[str, str]:
        """By sandbox, what it has written."""
        return {path.stem: path.read_text(encoding="utf-8") for path in sorted(self.logs.glob("*.log"))}

    def get(self, path: str, query: Mapping[str, Any] | str = "", **headers: str) -> Answer:
        """A signed GET of the HTTP API."""
        return self.call("GET", path, query, headers=headers)

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | str = "",
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        key: str | None = "caller",
        secret: str | None = None,
    ) -> Answer:
        """A request to the HTTP API.

        Args:
            method: Its method.
            path: Its path, encoded.
            query: Its query, encoded or not.
            headers: Its headers; underscores stand for hyphens.
            body: Its body.
            key: Whose signature it bears, or None for none.
            secret: A secret that is not the key's own.
        """
        text = query if isinstance(query, str) else urlencode(query, doseq=True)
        target = f"{path}?{text}" if text else path
        named = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        if key is not None:
            request = AWSRequest(method, self.url + target, headers=named, data=body)
            signer = SigV4Auth(Credentials(key, secret or secret_of(key)), "execute-api", REGION)
            signer.add_auth(request)
            named = dict(request.headers.items())
        return fetch(self.url + target, method, named, body)


_UNHURRIED = 20


@contextmanager
def deployed(build: Path, *, unhurried: bool = False, **parameters: str) -> Iterator[Stack]:
    """Deploy what was built, with the template's parameters.

    Args:
        build: What was built.
        unhurried: Functions and requests have all the time that a busy machine may take.
        parameters: By name.
    """
    with tempfile.TemporaryDirectory(prefix="preview-") as name, ExitStack() as stack:
        scratch = Path(name)
        logs = scratch / "logs"
        logs.mkdir()
        artefacts = Artefacts.take(build, scratch)
        evaluator = cloudformation.Evaluator(
            artefacts.template,
            DicomBucketName=DICOM_BUCKET,
            DataBucket=DATA_BUCKET,
            BatchMachine=MACHINE_ARN,
            ObjectsQueue=QUEUE_URL,
            CatalogueQueue=LOOKS_URL,
            **{"AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "AWS::StackName": "preview"},
            **parameters,
        )
        _check_parameters(artefacts.template, parameters)
        functions = artefacts.of_type("AWS::Serverless::Function")
        grants = {
            key_of(function): _grants(role_statements(artefacts, evaluator, function))
            for function in functions
        }
        grants["states"] = _grants(
            evaluator.value(artefacts.template["Resources"]["BatchMachineRole"]["Properties"]["Policies"])[0][
                "PolicyDocument"
            ]["Statement"]
        )
        s3 = stack.enter_context(s3_server(scratch, grants))
        started: dict[str, Function] = {}
        lambda_url = stack.enter_context(HttpServer(lambda_api(started))).url
        states = stack.enter_context(
            step_functions(scratch, s3, lambda_url, _definition(artefacts, evaluator))
        )
        proxies = {}
        for function in functions:
            proxies[function] = stack.enter_context(counting.CountingProxy(s3.endpoint))
            endpoints = {"AWS_ENDPOINT_URL": states, "AWS_ENDPOINT_URL_S3": proxies[function].url}
            started[function] = function_of(
                artefacts, evaluator, function, endpoints, logs, unhurried=unhurried
            )
            stack.callback(started[function].close)
        gateway = Gateway(_routes(artefacts, evaluator, started), {"caller": secret_of("caller")})
        front = stack.enter_context(HttpServer(gateway.answer))
        yield Stack(artefacts, started, front.url, s3, states, logs, evaluator, proxies)


def function_of(
    artefacts: Artefacts,
    evaluator: cloudformation.Evaluator,
    name: str,
    endpoints: Mapping[str, str],
    logs: Path,
    *,
    limit: int = 2,
    unhurried: bool = False,
) -> Function:
    """A function as the template describes it, in as many sandboxes as the limit says."""
    shared = artefacts.template["Globals"]["Function"]
    own = artefacts.of_type("AWS::Serverless::Function")[name]
    properties = evaluator.value({**shared, **own})
    variables = evaluator.value(
        {**shared["Environment"]["Variables"], **own.get("Environment", {}).get("Variables", {})}
    )
    folder = (artefacts.folder / own["CodeUri"]).resolve()
    environment = {
        **{variable: str(value) for variable, value in variables.items()},
        **endpoints,
        "AWS_ACCESS_KEY_ID": key_of(name),
        "AWS_SECRET_ACCESS_KEY": secret_of(key_of(name)),
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(properties["MemorySize"]),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(properties["Timeout"]),
        **({"PREVIEW_ANSWER_SECONDS": "600"} if unhurried else {}),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "LAMBDA_TASK_ROOT": str(folder),
        "LANG": "en_US.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "TZ": ":UTC",
        # Nothing of this machine's user is seen, and no code that is not there in Lambda.
        "HOME": "/nonexistent",
        "PYTHONPATH": artefacts.python_path(name, folder),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return Function(
        name,
        command=[sys.executable, "-S", "-s", "-m", "awslambdaric", properties["Handler"]],
        folder=folder,
        environment=environment,
        logs=logs,
        timeout_s=int(properties["Timeout"]) * (_UNHURRIED if unhurried else 1),
        limit=limit,
    )


def key_of(function: str) -> str:
    """The access key that a function's role stands for."""
    return f"AK{hashlib.sha256(function.encode()).hexdigest()[:16].upper()}"


def _check_parameters(template: dict[str, Any], parameters: Mapping[str, str]) -> None:
    for name, value in parameters.items():
        assert re.fullmatch(template["Parameters"][name].get("AllowedPattern", ".*"), value), name


def _routes(
    artefacts: Artefacts, evaluator: cloudformation.Evaluator, functions: Mapping[str, Function]
) -> list[Route]:
    integrations = artefacts.of_type("AWS::ApiGatewayV2::Integration")
    routes = []
    for route in artefacts.of_type("AWS::ApiGatewayV2::Route").values():
        integration = integrations[evaluator.value(route["Target"]).removeprefix("integrations/")]
        function = evaluator.value(integration["IntegrationUri"]).removesuffix(".Arn")
        kind = evaluator.value(route["AuthorizationType"])
        routes.append(Route(route["RouteKey"], functions[function], kind))
    return routes


def _definition(artefacts: Artefacts, evaluator: cloudformation.Evaluator) -> str:
    """The state machine with what the template fills in."""
    (machine,) = artefacts.of_type("AWS::Serverless::StateMachine").values()
    text = (artefacts.folder / machine["DefinitionUri"]).read_text(encoding="utf-8")
    filled = {name: str(evaluator.value(node)) for name, node in machine["DefinitionSubstitutions"].items()}
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:"
    return re.sub(r"\$\{(\w+)\}", lambda match: re.sub(r"^(\w+)\.Arn$", rf"{arn}\1", filled[match[1]]), text)


def role_statements(
    artefacts: Artefacts, evaluator: cloudformation.Evaluator, function: str
) -> list[dict[str, Any]]:
    """What a function's role allows."""
    resources = artefacts.template["Resources"]
    (role, _) = artefacts.of_type("AWS::Serverless::Function")[function]["Role"]["Fn::GetAtt"]
    properties = resources[role]["Properties"]
    documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
    documents += [
        resources[name]["Properties"]["PolicyDocument"]
        for name in evaluator.value(properties.get("ManagedPolicyArns", []))
    ]
    statements = [entry for document in documents for entry in evaluator.value(document)["Statement"]]
    assert all(entry["Effect"] == "Allow" for entry in statements)
    return statements


def allowed(statements: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Each action on S3 with each resource, as `bucket` or `bucket/pattern`."""
    found = set()
    for entry in statements:
        actions = entry["Action"] if isinstance(entry["Action"], list) else [entry["Action"]]
        resources = entry["Resource"] if isinstance(entry["Resource"], list) else [entry["Resource"]]
        for resource in resources:
            place = resource.removeprefix("arn:aws:s3:::").replace("DataBucket.Arn", DATA_BUCKET)
            found |= {(action, place) for action in actions if action.startswith("s3:")}
    return found


def beyond_role(stack: Stack, function: str) -> list[tuple[str, str]]:
    """The actions and objects that a function has asked S3 for, though its role does not allow them."""
    may = allowed(role_statements(stack.artefacts, stack.evaluator, function))
    return [
        (action, place)
        for action, place in sorted({_asked_for(seen) for seen in stack.requests(function)})
        if not place.startswith(SECRET_BUCKET)
        and not any(
            # Of several objects that are deleted at once the names stand in the body.
            action == one and (fnmatch.fnmatchcase(place, where) or place == where.partition("/")[0])
            for one, where in may
        )
    ]


def _asked_for(seen: counting.Seen) -> tuple[str, str]:
    """The action that a request is to IAM, and the bucket or object."""
    target, _, query = seen.target.partition("?")
    place = unquote(target).strip("/")
    if seen.method == "DELETE" or (seen.method == "POST" and query.startswith("delete")):
        return "s3:DeleteObject", place
    # An upload in parts begins and ends with a POST.
    actions = {"LIST": "s3:ListBucket", "PUT": "s3:PutObject", "POST": "s3:PutObject"}
    return actions.get(seen.kind, "s3:GetObject"), place


def _grants(statements: list[dict[str, Any]]) -> list[str]:
    """What seaweedfs makes of a role: reading, writing and listing by bucket."""
    kinds = {"GetObject": "Read", "PutObject": "Write", "DeleteObject": "Write", "ListBucket": "List"}
    granted = [(kinds.get(action[3:]), place.partition("/")[0]) for action, place in allowed(statements)]
    return sorted({f"{kind}:{bucket}" for kind, bucket in granted if kind})
