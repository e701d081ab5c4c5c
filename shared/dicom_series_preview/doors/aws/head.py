"""HEAD, as behind API Gateway: answered as GET, without the body."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def answered(resolve: Callable[[dict[str, Any]], dict[str, Any]], event: dict[str, Any]) -> dict[str, Any]:
    """The answer to an event of an HTTP API; one to HEAD tells the length of the body that it leaves out.

    Args:
        resolve: Answers an event; GET is all it needs to know.
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
