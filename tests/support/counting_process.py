"""A counting proxy in a process of its own, for clients that let no other thread of theirs run."""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import urllib3

from counting import CountingProxy
from servers import send

_SEEN = "/__seen"


@dataclass(frozen=True)
class Counted:
    """The proxy, as its client sees it.

    Attributes:
        url: Its address.
    """

    url: str

    def kinds(self) -> Counter[str]:
        """Requests by kind since this was asked last."""
        with urllib3.PoolManager() as pool:
            return Counter(json.loads(pool.request("GET", f"{self.url}{_SEEN}").data))


@contextmanager
def counting_process(upstream: str) -> Iterator[Counted]:
    """A second address of a server that counts the requests to it."""
    command = [sys.executable, __file__, upstream]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Counted(process.stdout.readline().strip())
        process.stdin.close()


class _Told(CountingProxy):
    """Tells what it has seen."""

    def answer(self, handler, body: bytes) -> None:
        if handler.path != _SEEN:
            super().answer(handler, body)
            return
        told = json.dumps(self.kinds()).encode()
        self.clear()
        send(handler, 200, {"Content-Length": str(len(told))}, told)


def _main() -> None:
    with _Told(sys.argv[1]) as proxy:
        print(proxy.url, flush=True)  # noqa: T201 - for the process that has started this one
        done = threading.Event()
        threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
        done.wait()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    _main()
