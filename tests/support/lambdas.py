"""Functions in processes of their own, and what comes of the events they are given."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import planted

PROJECT = Path(__file__).parents[2]
PROCESS = Path(__file__).with_name("function_process.py")
EVENTS = PROJECT / "events"


def event(name: str) -> dict[str, Any]:
    """The event of a file."""
    return json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))


@dataclass
class Function:
    """A function's running process.

    Attributes:
        process: The process.
        answers: Where it writes what comes of events.
        log: The file that its standard output and error go to.
        all_logs: What every function has logged so far.
    """

    process: subprocess.Popen[str]
    answers: Any
    log: Path
    read: int = field(default=0)

    def __call__(self, given: str | dict[str, Any]) -> "Outcome":
        """What comes of an event, which is given by name or as it is."""
        document = event(given) if isinstance(given, str) else given
        self.process.stdin.write(json.dumps(document) + "\n")
        self.process.stdin.flush()
        line = self.answers.readline()
        assert line, self.log.read_text(encoding="utf-8")
        text = self.log.read_text(encoding="utf-8")
        said, self.read = text[self.read :], len(text)
        outcome = Outcome(json.loads(line), said)
        outcome.check()
        return outcome


@dataclass(frozen=True)
class Outcome:
    """What came of an event.

    Attributes:
        document: `answer`, or `error` and `message`.
        said: What was written to standard output and error meanwhile.
    """

    document: dict[str, Any]
    said: str

    @property
    def answer(self) -> dict[str, Any]:
        """What the handler returned."""
        assert "answer" in self.document, self.document
        return self.document["answer"]

    def check(self) -> None:
        """What is planted stands neither in the log nor in metrics, errors and answers."""
        planted.check("a function's log", self.said)
        answer = self.document.get("answer")
        if answer is None:
            planted.check("an error", json.dumps(self.document, ensure_ascii=False))
        elif "statusCode" in answer:
            body = answer.get("body") or ""
            encoded = answer.get("isBase64Encoded")
            planted.check_answer(answer["headers"], base64.b64decode(body) if encoded else body.encode())
        else:
            # To a state machine, in whose history it stays.
            planted.check("an answer", json.dumps(answer, ensure_ascii=False))

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log, of which every line is JSON."""
        return [json.loads(line) for line in self.said.splitlines()]

    @property
    def metrics(self) -> dict[str, float]:
        """The values of all metrics that were sent."""
        found: dict[str, float] = {}
        for line in self.lines:
            for group in line.get("_aws", {}).get("CloudWatchMetrics", []):
                for metric in group["Metrics"]:
                    found[metric["Name"]] = found.get(metric["Name"], 0) + sum(line[metric["Name"]])
        return found


@dataclass(frozen=True)
class Invoked:
    """A function as the gateway calls it, one event at a time."""

    function: Function
    turn: threading.Lock = field(default_factory=threading.Lock)

    def invoke(self, event: dict[str, Any]) -> "Invoked.Result":
        """What comes of an event."""
        with self.turn:
            return self.Result(self.function(event).answer)

    @dataclass(frozen=True)
    class Result:
        """What the gateway asks of it."""

        answer: dict[str, Any]
        error: None = None
        seconds: float = 0.0

        @property
        def payload(self) -> bytes:
            """As Lambda hands it on."""
            return json.dumps(self.answer).encode()

        def document(self) -> dict[str, Any]:
            """The same as a document."""
            return self.answer


# Every function, by its folder's name.
Functions = dict[str, Function]


@contextmanager
def started(name: str, environment: dict[str, str], log: Path) -> Iterator[Function]:
    """A function's process while the context lasts."""
    reading, writing = os.pipe()
    # The runtime writes to descriptor 3, whatever the pipe's number is here.
    command = f'exec 3>&{writing}; exec "$0" -W error "$1" "$2"'
    arguments = [sys.executable, str(PROCESS), str(PROJECT / "functions" / name / "app.py")]
    with log.open("w", encoding="utf-8") as output, os.fdopen(reading, encoding="utf-8") as answers:
        process = subprocess.Popen(
            ["bash", "-c", command, *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            pass_fds=[writing],
        )
        os.close(writing)
        try:
            yield Function(process, answers, log)
        finally:
            process.stdin.close()
            process.wait(30)
