"""API Gateway's HTTP API and Lambda's own, on 127.0.0.1."""

import base64
import hmac
import http.client
import http.server
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlencode, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import servers
from runtime import Function

REGION = "us-east-1"
ACCOUNT = "123456789012"
ANSWER_LIMIT_BYTES = 6_291_556
INTEGRATION_TIMEOUT_S = 30


@dataclass(frozen=True)
class Answer:
    """An HTTP answer.

    Attributes:
        status: Its status.
        headers: By name in lower case.
        body: Its bytes.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Asked:
    """An HTTP request.

    Attributes:
        method: Its method.
        target: Path and query as they were sent.
        headers: By name in lower case; several of one name joined with commas.
        body: Its bytes.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class HttpServer(servers.ServerInThreads):
    """An HTTP server of threads, for as long as its context lasts.

    Args:
        respond: Gives the answer to a request.
    """

    def __init__(self, respond: Callable[[Asked], Answer]) -> None:
        super().__init__()
        self._respond = respond

    def answer(self, handler: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        """The answer; HEAD's may name a length of its own."""
        names = {name.lower() for name in handler.headers}
        headers = {name: ",".join(handler.headers.get_all(name)) for name in names}
        found = self._respond(Asked(handler.command, handler.path, headers, body))
        length = {"content-length": str(len(found.body))}
        own = {**length, **found.headers} if handler.command == "HEAD" else found.headers | length
        servers.send(handler, found.status, own, found.body)


@dataclass(frozen=True)
class Route:
    """A route of the HTTP API.

    Attributes:
        key: Its route key.
        function: What answers.
        authorization: `AWS_IAM` or `NONE`.
    """

    key: str
    function: Function
    authorization: str

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """The path's parameters, decoded; None where the route is another."""
        own, _, template = self.key.partition(" ")
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template))
        found = re.fullmatch(pattern, path)
        if found is None or method != own:
            return None
        return {name: unquote(value) for name, value in found.groupdict().items()}


class Gateway:
    """API Gateway's HTTP API with payload 2.0.

    Args:
        routes: Its routes.
        keys: By access key, the secrets of those who may call it.
    """

    def __init__(self, routes: list[Route], keys: Mapping[str, str]) -> None:
        self._routes = routes
        self._keys = keys

    def answer(self, asked: Asked) -> Answer:
        """Answer a request as API Gateway would."""
        path = asked.target.partition("?")[0]
        for route in self._routes:
            parameters = route.match(asked.method, path)
            if parameters is not None:
                break
        else:
            return _message(404, "Not Found")
        caller = None
        if route.authorization == "AWS_IAM":
            caller = self._caller(asked)
            if caller is None:
                return _message(403, "Forbidden")
        event = _event(asked, route, parameters, caller)
        invocation = route.function.invoke(event)
        if invocation.error == "Sandbox.Timedout" or invocation.seconds > INTEGRATION_TIMEOUT_S:
            return _message(503, "Service Unavailable")
        if invocation.error is not None or len(invocation.payload) > ANSWER_LIMIT_BYTES:
            return _message(500, "Internal Server Error")
        return _answer(invocation.document())

    def _caller(self, asked: Asked) -> str | None:
        """Whose signature a request bears; None where there is none that holds (Signature Version 4)."""
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/execute-api/aws4_request, "
            r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
            asked.headers.get("authorization", ""),
        )
        if found is None or found[1] not in self._keys:
            return None
        key, day, region, names, signature = found.groups()
        stamp = asked.headers.get("x-amz-date", "")
        try:
            age = datetime.now(UTC) - datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            signed = {name: asked.headers[name] for name in names.split(";")}
        except (ValueError, KeyError):
            return None
        if not stamp.startswith(day) or abs(age.total_seconds()) > 300 or "host" not in signed:
            return None
        # However it came, a query is signed in one spelling: encoded strictly, and sorted.
        path, _, query = asked.target.partition("?")
        strict = urlencode(parse_qsl(query, keep_blank_values=True), quote_via=quote, safe="-._~")
        url = f"http://{signed['host']}{path}" + (f"?{strict}" if query else "")
        request = AWSRequest(asked.method, url, headers=signed, data=asked.body or None)
        request.context["timestamp"] = stamp
        signer = SigV4Auth(Credentials(key, self._keys[key]), "execute-api", region)
        expected = signer.signature(
            signer.string_to_sign(request, signer.canonical_request(request)), request
        )
        return key if hmac.compare_digest(expected, signature) else None


def _message(status: int, text: str) -> Answer:
    return Answer(status, {"content-type": "application/json"}, json.dumps({"message": text}).encode())


def _event(asked: Asked, route: Route, parameters: dict[str, str], caller: str | None) -> dict[str, Any]:
    """The event of payload 2.0: the path decoded, the query as it came."""
    encoded, _, query = asked.target.partition("?")
    path, now = unquote(encoded), datetime.now(UTC)
    context: dict[str, Any] = {
        "accountId": ACCOUNT,
        "apiId": "api",
        "domainName": f"api.execute-api.{REGION}.amazonaws.com",
        "domainPrefix": "api",
        "http": {
            "method": asked.method,
            "path": path,
            "protocol": "HTTP/1.1",
            "sourceIp": "127.0.0.1",
            "userAgent": asked.headers.get("user-agent", ""),
        },
        "requestId": str(uuid.uuid4()),
        "routeKey": route.key,
        "stage": "$default",
        "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "timeEpoch": int(now.timestamp() * 1000),
    }
    if caller:
        context["authorizer"] = {"iam": {"accessKey": caller, "accountId": ACCOUNT}}
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route.key,
        "rawPath": path,
        "rawQueryString": query,
        "headers": asked.headers,
        "requestContext": context,
        "isBase64Encoded": False,
    }
    if query:
        values = parse_qs(query, keep_blank_values=True)
        event["queryStringParameters"] = {name: ",".join(given) for name, given in values.items()}
    if parameters:
        event["pathParameters"] = parameters
    if asked.body:
        is_text = re.match(r"text/|application/(json|xml|javascript)", asked.headers.get("content-type", ""))
        event["isBase64Encoded"] = not is_text
        event["body"] = asked.body.decode() if is_text else base64.b64encode(asked.body).decode()
    return event


def _answer(document: dict[str, Any]) -> Answer:
    headers = {name.lower(): str(value) for name, value in (document.get("headers") or {}).items()}
    body = document.get("body") or ""
    data = base64.b64decode(body) if document.get("isBase64Encoded") else body.encode()
    return Answer(document["statusCode"], {"content-type": "application/json", **headers}, data)


def lambda_api(functions: Mapping[str, Function]) -> Callable[[Asked], Answer]:
    """Lambda's Invoke, as the Step Functions server calls it."""

    def answer(asked: Asked) -> Answer:
        name = unquote(asked.target.split("/")[3]).rpartition(":")[2]
        invocation = functions[name].invoke(json.loads(asked.body))
        headers = {"content-type": "application/json"}
        payload = invocation.payload
        if invocation.error is not None:
            headers["x-amz-function-error"] = "Unhandled"
            if not payload.startswith(b"{"):
                message = payload.decode(errors="replace")
                payload = json.dumps({"errorType": invocation.error, "errorMessage": message}).encode()
        return Answer(200, headers, payload)

    return answer


def fetch(
    url: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> Answer:
    """Send a request exactly as it is given, and follow nothing."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
    try:
        connection.request(
            method, url.removeprefix(f"{parts.scheme}://{parts.netloc}"), body, dict(headers or {})
        )
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, response.read())
    finally:
        connection.close()
