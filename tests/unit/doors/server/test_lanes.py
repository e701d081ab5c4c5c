import asyncio
import threading
from collections.abc import Callable

from dicom_series_preview.base.gate import Gate
from dicom_series_preview.doors.server.connections import MOST_CONNECTIONS
from dicom_series_preview.doors.server.lanes import Lane
from dicom_series_preview.web.http.messages import HttpResponse

OK = HttpResponse(200, {})


class Heavy:
    """Work that takes all room until it is let go."""

    def __init__(self, gate: Gate, wanted: int = 10) -> None:
        self.begun, self.go, self.tries = threading.Semaphore(0), threading.Event(), 0
        self._gate, self._wanted = gate, wanted

    def __call__(self) -> HttpResponse:
        """Do it."""
        self.tries += 1
        with self._gate.passage(self._wanted):
            self.begun.release()
            assert self.go.wait(60)
        return OK


async def begun(work: Heavy) -> None:
    """Wait until one more has begun."""
    assert await asyncio.to_thread(work.begun.acquire, timeout=60)


def test_light_work_does_not_wait_for_heavy_work() -> None:
    """What costs little is answered while heavy work has all room, and more of it waits than threads."""

    async def scenario() -> list[int]:
        gate = Gate(10, 1)
        lane, heavy = Lane(gate, threads=2), Heavy(gate)
        waiting = [asyncio.ensure_future(lane.run(heavy)) for _ in range(20)]
        await begun(heavy)
        for _ in range(3):
            assert (await lane.run(lambda: OK)).status == 200
        assert not any(one.done() for one in waiting)
        heavy.go.set()
        return [answer.status for answer in await asyncio.gather(*waiting)]

    assert asyncio.run(scenario()) == [200] * 20


def test_heavy_work_is_done_as_often_as_there_is_room() -> None:
    """No more heavy work is done at once than fits behind the gate."""
    at_once, most, lock = 0, 0, threading.Lock()

    def counted(gate: Gate) -> Callable[[], HttpResponse]:
        def work() -> HttpResponse:
            nonlocal at_once, most
            with gate.passage(5):
                with lock:
                    at_once += 1
                    most = max(most, at_once)
                with lock:
                    at_once -= 1
            return OK

        return work

    async def scenario() -> None:
        gate = Gate(10, 8)
        lane = Lane(gate, threads=8)
        answers = await asyncio.gather(*(lane.run(counted(gate)) for _ in range(200)))
        assert {answer.status for answer in answers} == {200}

    asyncio.run(scenario())
    assert 1 <= most <= 2


def test_too_many_are_refused() -> None:
    """Beyond a bound a request is told at once to come back, and those before it are answered."""

    async def scenario() -> None:
        gate = Gate(10, 1)
        lane, heavy = Lane(gate, threads=1, most=3), Heavy(gate)
        waiting = [asyncio.ensure_future(lane.run(heavy)) for _ in range(3)]
        await begun(heavy)
        refused = await lane.run(lambda: OK)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        assert b'"urn:dicom-series-preview:problem:busy"' in refused.body
        heavy.go.set()
        assert [answer.status for answer in await asyncio.gather(*waiting)] == [200] * 3
        assert (await lane.run(lambda: OK)).status == 200

    asyncio.run(scenario())


def test_one_root_leaves_connections_to_the_others() -> None:
    """However many requests for one root wait, a fifth of a server's connections stays free of them."""

    async def scenario() -> list[int]:
        gate = Gate(10, 1)
        lane, heavy = Lane(gate), Heavy(gate)
        asked = [asyncio.ensure_future(lane.run(heavy)) for _ in range(MOST_CONNECTIONS)]
        await begun(heavy)
        refused = [one for one in asked if one.done()]
        assert len(refused) >= MOST_CONNECTIONS // 5
        heavy.go.set()
        return [answer.status for answer in await asyncio.gather(*asked)]

    statuses = asyncio.run(scenario())
    assert statuses.count(200) + statuses.count(503) == MOST_CONNECTIONS
    assert statuses.count(200) >= MOST_CONNECTIONS // 2


def test_who_waits_too_long_is_refused() -> None:
    """A request whose turn does not come in time is told to come back, and leaves its place."""

    async def scenario() -> None:
        gate = Gate(10, 1)
        lane, heavy = Lane(gate, threads=2, wait_s=0), Heavy(gate)
        with gate.passage(10):
            assert (await lane.run(heavy)).status == 503
        heavy.go.set()
        assert (await lane.run(heavy)).status == 200

    asyncio.run(scenario())


def test_work_that_wants_more_the_second_time() -> None:
    """A request that passes the gate again, for a picture larger than its index, asks for that."""

    async def scenario() -> None:
        gate = Gate(10, 2)
        lane, other = Lane(gate, threads=4), Heavy(gate, 4)
        made: list[int] = []

        def index_and_picture() -> HttpResponse:
            if not made:
                with gate.passage(7):
                    made.append(1)
            with gate.passage(9):
                return OK

        first = asyncio.ensure_future(lane.run(other))
        await begun(other)
        second = asyncio.ensure_future(lane.run(index_and_picture))
        other.go.set()
        assert [(await one).status for one in (first, second)] == [200, 200]

    asyncio.run(scenario())
