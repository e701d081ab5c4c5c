"""Lambda on one machine: built functions in sandboxes of the runtime interface emulator.

The emulator comes with aws-sam-cli, and runs Lambda's own runtime client. Every function has the built
layers, the folder of its code and the environment that it is given, and nothing else of this machine. Memory
limits are not enforced.
"""

import contextlib
import http.client
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import cloudformation
import servers

# What the Lambda runtime has besides Python itself; boto3 and what it needs is there for functions to use.
RUNTIME = ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py")
RUNTIME += ("boto3", "botocore", "s3transfer", "dateutil", "six", "jmespath", "urllib3")


@dataclass(frozen=True)
class Artefacts:
    """What `sam build` has made, and what the Lambda runtime adds.

    Attributes:
        template: The built template.
        folder: Where it lies; its paths are relative to it.
        layers: By logical name, copies of the built layers, which nothing may write to.
        runtime: A folder with the runtime's own packages.
        taken: When they were copied, in seconds since 1970.
    """

    template: dict[str, Any]
    folder: Path
    layers: Mapping[str, Path]
    runtime: Path
    taken: float

    @classmethod
    def take(cls, build: Path, scratch: Path) -> Self:
        """Copy what was built, so that a build meanwhile does no harm."""
        template = cloudformation.load(build / "template.yaml")
        layers = {}
        for name, resource in template["Resources"].items():
            if resource["Type"] == "AWS::Serverless::LayerVersion":
                layer = scratch / name
                shutil.copytree(build / resource["Properties"]["ContentUri"], layer, symlinks=True)
                for path in [layer, *layer.rglob("*")]:
                    path.chmod(path.stat().st_mode & ~0o222)
                layers[name] = layer
        return cls(template, build, layers, _runtime(scratch / "runtime"), time.time())

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """The resources of a type, by logical name: their properties."""
        resources = self.template["Resources"]
        return {name: entry["Properties"] for name, entry in resources.items() if entry["Type"] == kind}

    def python_path(self, function: str, *before: Path) -> str:
        """PYTHONPATH in Lambda's order: the function's folder, its layers, the runtime."""
        own = self.of_type("AWS::Serverless::Function")[function].get("Layers", [])
        named = [layer["Ref"] for layer in [*self.template["Globals"]["Function"]["Layers"], *own]]
        folders = [*before, *(self.layers[name] / "python" for name in named), self.runtime]
        return os.pathsep.join(map(str, folders))

    def written(self) -> list[Path]:
        """Files in the layers that were not built: Lambda's /opt is read-only, whoever runs this test."""
        files = [path for layer in self.layers.values() for path in layer.rglob("*")]
        return [path for path in files if path.stat().st_mtime > self.taken]


def _runtime(folder: Path) -> Path:
    folder.mkdir()
    for name in RUNTIME:
        origin = Path(find_spec(name).origin)
        target = origin.parent if origin.name == "__init__.py" else origin
        (folder / target.name).symlink_to(target)
    return folder


def emulator() -> Path:
    """The runtime interface emulator, which aws-sam-cli carries."""
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
    return Path(find_spec("samcli").origin).parent / "local" / "rapid" / f"aws-lambda-rie-{machine}"


@dataclass(frozen=True)
class Invocation:
    """What came of one call.

    Attributes:
        payload: The answer's bytes.
        error: The error's type, or None.
        seconds: How long it took.
    """

    payload: bytes
    error: str | None
    seconds: float

    def document(self) -> Any:
        """The answer; an error is raised."""
        if self.error is not None:
            raise RuntimeError(f"{self.error}: {self.payload[:500]!r}")
        return json.loads(self.payload)


class Sandbox:
    """One process of a function: a cold start, then one call at a time."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str], log: Path) -> None:
        self._port = servers.free_port()
        addresses = ["--runtime-interface-emulator-address", f"127.0.0.1:{self._port}"]
        addresses += ["--runtime-api-address", f"127.0.0.1:{servers.free_port()}", "--log-level", "error"]
        # Neither the emulator's output nor its children outlive it.
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [str(emulator()), *addresses, *command],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def invoke(self, event: Any) -> Invocation:
        """One call, which Lambda would make when the one before has ended."""
        started = time.perf_counter()
        connection = self._connection()
        try:
            connection.request("POST", "/2015-03-31/functions/function/invocations", json.dumps(event))
            response = connection.getresponse()
            payload = response.read()
        finally:
            connection.close()
        return Invocation(payload, _error(payload), time.perf_counter() - started)

    def peak_bytes(self) -> int:
        """The most memory that the function has held at once."""
        peak = 0
        for pid in _children(self._process.pid):
            text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            peak += int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) * 1024
        return peak

    def kept_waiting_s(self) -> float:
        """How long the function could have run so far, had other processes not had the processor."""
        waits = 0.0
        for pid in _children(self._process.pid):
            with contextlib.suppress(OSError):  # a kernel that does not count it
                waits += int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
        return waits

    def processor_s(self) -> float:
        """How long the function has had a processor so far, all its threads together."""
        ticks = 0
        for pid in _children(self._process.pid):
            # The name before the brace may hold anything; user and system time are the 14th and 15th field.
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End the process, and what it has started."""
        children = _children(self._process.pid)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _connection(self) -> http.client.HTTPConnection:
        """A connection, as soon as the emulator listens."""
        deadline = time.monotonic() + 30
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=1000)
            try:
                connection.connect()
            except ConnectionError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.002)
            else:
                return connection


def _children(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in children for child in path.read_text(encoding="ascii").split()]


def _error(payload: bytes) -> str | None:
    if payload.startswith(b"Task timed out"):
        return "Sandbox.Timedout"
    try:
        document = json.loads(payload)
    except ValueError:
        return "Runtime.Unknown"
    return document["errorType"] if isinstance(document, dict) and "errorMessage" in document else None


class Function:
    """A Lambda function: as Lambda does, it starts another sandbox while all are busy.

    Args:
        name: Its logical name.
        command: What the sandbox runs.
        folder: Its code.
        environment: Its environment.
        logs: Where each sandbox's output goes.
        timeout_s: How long one call may take.
        limit: How many sandboxes there may be.
    """

    def __init__(
        self,
        name: str,
        *,
        command: list[str],
        folder: Path,
        environment: Mapping[str, str],
        logs: Path,
        timeout_s: int,
        limit: int = 2,
    ) -> None:
        self.name = name
        self.folder = folder
        self.environment = environment
        self.timeout_s = timeout_s
        self._command = command
        self._logs = logs
        self._places = threading.BoundedSemaphore(limit)
        self._lock = threading.Lock()
        self._idle: list[Sandbox] = []
        self._all: list[Sandbox] = []
        self._started = 0

    def invoke(self, event: Any) -> Invocation:
        """One call."""
        with self._places:
            with self._lock:
                sandbox = self._idle.pop() if self._idle else self.start()
            try:
                return sandbox.invoke(event)
            finally:
                with self._lock:
                    self._idle.append(sandbox)

    def start(self) -> Sandbox:
        """A new sandbox; it ends with the function."""
        self._started += 1
        log = self._logs / f"{self.name}-{self._started}.log"
        sandbox = Sandbox(self._command, self.folder, self.environment, log)
        self._all.append(sandbox)
        return sandbox

    def kept_waiting_s(self) -> float:
        """How long its sandboxes have waited for a processor so far."""
        return sum(sandbox.kept_waiting_s() for sandbox in self._all)

    def processor_s(self) -> float:
        """How long its sandboxes have had a processor so far."""
        return sum(sandbox.processor_s() for sandbox in self._all)

    def peak_bytes(self) -> int:
        """The most memory that one sandbox has held."""
        return max((sandbox.peak_bytes() for sandbox in self._all), default=0)

    def restart(self) -> None:
        """End the sandboxes; the next call starts cold. Nobody may be calling."""
        self.close()
        self._idle.clear()
        self._all.clear()

    def close(self) -> None:
        """End the sandboxes."""
        for sandbox in self._all:
            sandbox.close()
