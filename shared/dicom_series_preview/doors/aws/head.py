"""HEAD behind API Gateway: answered like GET, without the body."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def answered(resolve: Callable[[dict[str, Any]], dict[str, Any]], event: dict[str, Any]) -> dict[str, Any]:
    """Answer an event of an HTTP API; for HEAD, state the length of the omitted body.

    Args:
        resolve: Answers an event; it sees only GET.
        event: The event, payload 2.0.
    """
    http = event["requestContext"]["http"]
    if http["method"] != "HEAD":
        return resolve(event)
    context = {**event["requestContext"], "http": {**http, "method": "GET"}}
    response = resolve({**event, "requestContext": context})
    body = response.get("body") or ""
    if not body:
        return response
    length = len(base64.b64decode(body) if response.get("isBase64Encoded") else body.encode())
    headers = {**response["headers"], "Content-Length": str(length)}
    return {**response, "headers": headers, "body": "", "isBase64Encoded": False}
