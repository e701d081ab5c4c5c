"""AWS Signature Version 4 of a request without a body."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that sign a request.

    Attributes:
        access_key_id: The access key.
        secret_access_key: Its secret.
        token: The session token of temporary keys, else empty.
    """

    access_key_id: str
    secret_access_key: str
    token: str = ""

    def __repr__(self) -> str:
        return "Keys(...)"


def signature(keys: Keys, region: str, address: str, query: str, now: datetime) -> dict[str, str]:
    """Return the headers that sign a GET without a body (AWS Signature Version 4).

    Args:
        keys: The keys that sign.
        region: The bucket's region.
        address: The URL without the query.
        query: The query, sorted and encoded.
        now: The time, in UTC with its time zone.
    """
    nothing = hashlib.sha256(b"").hexdigest()
    stamp, target = now.strftime("%Y%m%dT%H%M%SZ"), urlsplit(address)
    signed = {"host": target.netloc, "x-amz-content-sha256": nothing, "x-amz-date": stamp}
    if keys.token:
        signed["x-amz-security-token"] = keys.token
    names = ";".join(signed)
    lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
    canonical = f"GET\n{target.path or '/'}\n{query}\n{lines}\n{names}\n{nothing}"
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    secret = f"AWS4{keys.secret_access_key}".encode()
    for part in scope.split("/"):
        secret = hmac.digest(secret, part.encode(), "sha256")
    proof = hmac.digest(secret, text.encode(), "sha256").hex()
    told = f"Credential={keys.access_key_id}/{scope}, SignedHeaders={names}, Signature={proof}"
    return {**signed, "authorization": f"AWS4-HMAC-SHA256 {told}"}
