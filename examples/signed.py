"""Call a deployment's HTTP API with `AuthMode` IAM: requests signed with your AWS credentials.

    python signed.py -o mosaic.webp "$API_URL/series/389*/mosaic?contrast=1500/-500"
    python signed.py -X POST -d '{"series": ["a", "b"]}' "$API_URL/batches"

It takes curl's options -X, -H, -d and -o, finds credentials and region as the AWS command line does, and
needs only boto3. It does right what curl's own --aws-sigv4 does wrong: it encodes the query before it signs
it, and if the answer is a link to a large picture, it follows the link without signature, header or token.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session


def encoded(url: str) -> str:
    """Return the URL as Signature Version 4 wants it: all but letters, digits and `-._~` escaped."""
    parts = urlsplit(url)
    path = "/".join(quote(unquote(part), safe="-._~") for part in parts.path.split("/"))
    query = urlencode(sorted(parse_qsl(parts.query, keep_blank_values=True)), quote_via=quote, safe="-._~")
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def ask(method: str, url: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
    """Send a signed request and return the answer's status and body; follow a link unsigned."""
    session = boto3.Session()
    credentials = session.get_credentials()
    region = session.region_name or os.environ.get("AWS_REGION")
    if credentials is None or region is None:
        sys.exit("signed.py: there are no AWS credentials, or no region; see `aws configure`")
    request = AWSRequest(method, encoded(url), headers=headers, data=body)
    SigV4Auth(credentials, "execute-api", region).add_auth(request)
    line = URLLib3Session(timeout=60)
    answer = line.send(request.prepare())
    if answer.status_code == 303:
        answer = line.send(AWSRequest("GET", answer.headers["Location"]).prepare())
    return answer.status_code, answer.content


def main() -> int:
    """Send the request and write the answer to a file or standard output; return 1 for status 400 or more."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("-X", "--request", metavar="METHOD")
    parser.add_argument("-H", "--header", action="append", default=[], metavar="'NAME: VALUE'")
    parser.add_argument("-d", "--data", metavar="TEXT", help="the body; JSON unless a header says otherwise")
    parser.add_argument("-o", "--output", metavar="FILE")
    given = parser.parse_args()
    headers = dict(header.split(": ", 1) for header in given.header)
    body = None if given.data is None else given.data.encode()
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
    method = given.request or ("GET" if body is None else "POST")
    status, content = ask(method, given.url, headers, body)
    if given.output and status < 400:
        Path(given.output).write_bytes(content)
    else:
        sys.stdout.buffer.write(content)
    if status >= 400:
        sys.stderr.write(f"signed.py: status {status}\n")
    return int(status >= 400)


if __name__ == "__main__":
    sys.exit(main())
