"""A crash of a broker, then another one: while it recovers, or soon after.

Opening a broker makes commits: what became due is released, what expired is dead-lettered, transient queues go. A crash
in the middle of that, and another opening, must end in the same.
"""

import random

import pytest

from support.broker_session import BrokerCrashCheck, BrokerSession, check_view, recover_view, small_broker_limits
from support.broker_workloads import BrokerWorkload, delaying, draining, limiting, settling, spreading
from support.crash_images import CrashImage, crash_images
from support.disk import Image
from support.faulty_filesystem import FaultyFileSystem
from support.recovery import MODES
from support.scale import scaled, stride
from support.telling import tell

FIRST_CRASHES = 3
STRIDE = 4
"""Of the images of a normal run, one of so many is opened; of a longer one, more."""
LATER_MS = 70
"""After the first crash so much time has passed: enough for delays and times to live to be over."""


def _first_crashes(session: BrokerSession, count: int) -> list[tuple[CrashImage, Image]]:
    """Return images drawn from all but those that lost everything."""
    disk = session.filesystem.disk
    chance = random.Random(7)
    chosen: list[tuple[CrashImage, Image]] = []
    images = crash_images(disk.start, disk.operations, seed=2, each=1, chances=1)
    for number, image in enumerate(image for image in images if image.label != "nothing"):
        place = number if number < count else chance.randrange(number + 1)
        if place < count:
            chosen[place : place + 1] = [(image, image.build())]
    return chosen


def _second_life(session: BrokerSession) -> None:
    """Do a little with whatever is there."""
    for name, queue in list(session.paper.queues.items()):
        if queue.limit is None and queue.length_limit is None and queue.ttl_ms is None:
            session.send(name, 2)
            session.get(name, 2)
            session.ack(name, 1)
            session.reject(name)
            break


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("workload", [settling, spreading, limiting, delaying, draining])
def test_a_second_crash_changes_nothing(workload: BrokerWorkload, sync, record_property):
    with small_broker_limits():
        session = BrokerSession(sync)
        workload(session)
        session.end()
        tried = 0
        for number, (first, tree) in enumerate(_first_crashes(session, scaled(FIRST_CRASHES))):
            now_ms = session.now_at(first.point)
            found = recover_view(tree, now_ms, sync)
            index = check_view(session.history, found, first.point, now_ms, killed=first.killed)
            state = session.history._steps[index].state
            paper = state.copy()  # type: ignore[attr-defined]  # its states are papers here
            paper.crash()
            paper.now_ms = now_ms + LATER_MS * (number % 2)
            second = BrokerSession(sync, filesystem=FaultyFileSystem(tree), paper=paper, tag="second-")
            second.open()
            _second_life(second)
            second.end()
            disk = second.filesystem.disk
            check = BrokerCrashCheck(second)
            images = crash_images(disk.start, disk.operations, seed=number, each=0, chances=1)
            for place, image in enumerate(images):
                if place % stride(STRIDE) == 0:
                    check.check(image)
            tried += check.tried
    tell(record_property, second_crash_images=tried)
