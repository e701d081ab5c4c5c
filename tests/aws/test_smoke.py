"""`make smoke` works: what it tries on AWS, it tries here on the stand-in."""

import json
import re
import threading
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote_plus

import pytest

from built import BUILT

# isort: split

from collections.abc import Iterator
from pathlib import Path

import boto3

import stack as stacks
from aws import smoke
from gateway import ACCOUNT, REGION

pytestmark = pytest.mark.aws

DEAD_LETTERS = "dead-letters"
QUICK = smoke.Patience(pause_s=0.05, settle_s=0.2, longest_s=90)


class TellingS3:
    """A client of S3 whose bucket of series tells the queue of what comes and goes, as S3 does.

    Args:
        s3: The client.
        sqs: A client of SQS.
        deaf: No longer tells.
    """

    def __init__(self, s3: Any, sqs: Any, *, deaf: bool = False) -> None:
        self._s3 = s3
        self._sqs = sqs
        self._deaf = deaf

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def put_object(self, **given: Any) -> Any:
        """Write an object."""
        answer = self._s3.put_object(**given)
        self._tell("ObjectCreated:Put", given)
        return answer

    def delete_object(self, **given: Any) -> Any:
        """Remove an object."""
        answer = self._s3.delete_object(**given)
        self._tell("ObjectRemoved:Delete", given)
        return answer

    def _tell(self, event: str, given: dict[str, Any]) -> None:
        if given["Bucket"] != stacks.DICOM_BUCKET or self._deaf:
            return
        place = {"bucket": {"name": given["Bucket"]}, "object": {"key": quote_plus(given["Key"])}}
        body = json.dumps({"Records": [{"eventName": event, "s3": place}]})
        self._sqs.send_message(QueueUrl=stacks.QUEUE_URL, MessageBody=body)


@contextmanager
def poller(stack: stacks.Stack, sqs: Any) -> Iterator[None]:
    """Lambda's poller: what the queue has goes to the function, and what it does not report is deleted."""
    ended = threading.Event()

    def poll() -> None:
        while not ended.is_set():
            found = sqs.receive_message(QueueUrl=stacks.QUEUE_URL, MaxNumberOfMessages=10)
            messages = {entry["MessageId"]: entry for entry in found.get("Messages", ())}
            if not messages:
                ended.wait(0.05)
                continue
            records = [{"messageId": name, "body": entry["Body"]} for name, entry in messages.items()]
            answer = stack.functions["IndexUpdatesFunction"].invoke({"Records": records}).document()
            failed = {entry["itemIdentifier"] for entry in answer["batchItemFailures"]}
            for name in set(messages) - failed:
                handle = messages[name]["ReceiptHandle"]
                sqs.delete_message(QueueUrl=stacks.QUEUE_URL, ReceiptHandle=handle)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture(scope="module")
def stack(layers: list[Path]) -> Iterator[stacks.Stack]:
    """The deployment."""
    assert layers
    with stacks.deployed(BUILT) as running:
        yield running


@pytest.fixture(scope="module")
def sqs(stack: stacks.Stack) -> Any:
    """SQS with the stack's queues, which hide a message for a moment only."""
    client = stacks.client("sqs", stack.states, "admin")
    client.create_queue(QueueName=DEAD_LETTERS)
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{DEAD_LETTERS}"
    template = stack.artefacts.template["Resources"]["ObjectsQueue"]["Properties"]
    redrive = {**template["RedrivePolicy"], "deadLetterTargetArn": arn}
    attributes = {"VisibilityTimeout": "1", "RedrivePolicy": json.dumps(redrive)}
    client.set_queue_attributes(QueueUrl=stacks.QUEUE_URL, Attributes=attributes)
    return client


@pytest.fixture(scope="module")
def described(stack: stacks.Stack) -> Any:
    """CloudFormation, with the stack's outputs and parameters under the name `preview`."""
    values = {
        "ApiUrl": stack.url,
        "DataBucketName": stacks.DATA_BUCKET,
        "SeriesBucketName": stacks.DICOM_BUCKET,
        "NotifyCommand": "nothing to do",
        "ObjectsQueueUrl": stacks.QUEUE_URL,
        "ObjectsDeadLettersUrl": stacks.QUEUE_URL.rpartition("/")[0] + f"/{DEAD_LETTERS}",
    }
    assert set(values) <= set(stack.artefacts.template["Outputs"])
    parameters = ("AuthMode", "DicomPrefix", "SeriesDepth")
    template = {
        "Parameters": {name: {"Type": "String"} for name in parameters},
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {name: {"Value": value} for name, value in values.items()},
    }
    client = stacks.client("cloudformation", stack.states, "admin")
    client.create_stack(
        StackName="preview",
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": name, "ParameterValue": stack.evaluator[name]} for name in parameters],
    )
    return client


def opened(described: Any, s3: Any, sqs: Any) -> smoke.Smoke:
    """A run against the stand-in."""
    session = boto3.Session("caller", stacks.secret_of("caller"), region_name=REGION)
    stack = smoke.Deployment.of("preview", session, cloudformation=described, s3=s3, sqs=sqs)
    return smoke.Smoke(stack, QUICK)


def test_a_stack_passes(
    stack: stacks.Stack, sqs: Any, described: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Upload, index, mosaic, 304, a batch, dead letters and erasure, and nothing is left behind."""
    run = opened(described, TellingS3(stack.s3.client(), sqs), sqs)
    with poller(stack, sqs):
        status = smoke.run(run, [*run.steps(), ("poison", run.poison)])
    told = capsys.readouterr()
    assert status == 0, told.err
    assert [line.partition(":")[0] for line in told.out.splitlines()] == [
        *(name for name, _ in run.steps()),
        "poison",
        "clean",
    ]
    left = [
        entry["Key"]
        for bucket in (stacks.DICOM_BUCKET, stacks.DATA_BUCKET)
        for entry in stack.s3.client().list_objects_v2(Bucket=bucket).get("Contents", ())
    ]
    assert not [key for key in left if run.mark in key]
    assert not [key for key in left if re.match("renders/|batches/(mosaics|[0-9a-f]{8}-)", key)]


def test_a_stack_that_hears_of_nothing_fails(
    stack: stacks.Stack, sqs: Any, described: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the bucket does not tell the queue, the run ends with what to do, and cleans up."""
    run = opened(described, TellingS3(stack.s3.client(), sqs, deaf=True), sqs)
    with poller(stack, sqs):
        assert smoke.run(run, run.steps()) == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[0].startswith("upload: ")
    assert "index: FAILED: the upload made no index" in told.err
    assert not stack.s3.client().list_objects_v2(Bucket=stacks.DICOM_BUCKET).get("Contents")
