from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from dicom_series_preview.sources.storage.s3_signature import Keys, signature


@pytest.mark.parametrize("token", ["", "a/token+of=sts"])
@pytest.mark.parametrize("address", ["https://s3.eu-west-1.amazonaws.com", "http://127.0.0.1:9000/base"])
def test_listings_are_signed_as_aws_signs(address: str, token: str) -> None:
    """The signature of a listing is that of AWS's own library, whatever its prefix holds."""
    keys = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
    query = "&".join(
        f"{name}={quote(value, safe='~')}"
        for name, value in (("encoding-type", "url"), ("prefix", "a b/ä+~*'(1)&=%/"), ("start-after", ""))
    )
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    signed = signature(keys, "eu-west-1", f"{address}/bucket", query, now)
    request = AWSRequest("GET", f"{address}/bucket?{query}", headers=signed)
    del request.headers["authorization"]
    request.context["timestamp"] = signed["x-amz-date"]
    signer = S3SigV4Auth(Credentials(*vars_of(keys)), "s3", "eu-west-1")
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    assert signed["authorization"].endswith(f"Signature={expected}")
    assert signed.get("x-amz-security-token", "") == token


def vars_of(keys: Keys) -> tuple[str, str, str | None]:
    """Keys as botocore takes them."""
    return keys.access_key_id, keys.secret_access_key, keys.token or None


def test_keys_are_not_shown() -> None:
    """Whoever prints what signs sees no secret."""
    assert "secret" not in repr(Keys("known", "secret", "secret"))
