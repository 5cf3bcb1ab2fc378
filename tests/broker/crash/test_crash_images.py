"""Loss of power, and death of the process, after every single file operation of brokers at work.

Whatever the disk may hold then, the broker that is opened on it shows a prefix of the commit history that keeps what
was promised: no message lost that was not settled, none in two places, copies and batches whole, delivery counts kept.
"""

from unittest import mock

import pytest

from msglog.storage import Engine
from msglog.storage.commit import Commit
from support.broker_session import BrokerCrashCheck, BrokerSession, check_view, recover_view, small_broker_limits
from support.broker_workloads import BROKER_WORKLOADS, BrokerWorkload, draining
from support.crash_images import crash_images, torn_kills
from support.recovery import MODES
from support.scale import scaled, stride
from support.telling import tell

STRIDE = 24
"""Of the images of a normal run, one of so many is opened, and half of those of a kill; of a longer one, more."""


def _record(workload: BrokerWorkload, sync) -> BrokerSession:
    session = BrokerSession(sync)
    workload(session)
    session.check()
    session.filesystem.disk.check_maps()
    session.end()
    return session


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("workload", BROKER_WORKLOADS)
def test_every_crash_leaves_a_prefix_that_keeps_all_promises(workload, sync, record_property):
    with small_broker_limits():
        session = _record(workload, sync)
        disk = session.filesystem.disk
        check = BrokerCrashCheck(session)
        images = crash_images(disk.start, disk.operations, seed=1, each=1, chances=scaled(1))
        for number, image in enumerate(images):
            if number % stride(STRIDE) == 0 or (image.killed and number % 2 == 0):
                check.check(image)
    tell(record_property, crash_images=check.tried, distinct_ones=check.distinct)


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("workload", BROKER_WORKLOADS)
def test_death_in_the_middle_of_a_store_is_a_prefix_too(workload, sync, record_property):
    with small_broker_limits():
        session = _record(workload, sync)
        disk = session.filesystem.disk
        tried = 0
        for number, (point, image) in enumerate(torn_kills(disk.start, disk.operations, seed=1)):
            if number % stride(STRIDE) == 0:
                now_ms = session.now_at(point)
                found = recover_view(image, now_ms, MODES[tried % 3])
                check_view(session.history, found, point, now_ms, killed=True)
                tried += 1
    tell(record_property, torn_stores=tried)


@pytest.mark.parametrize("sync", MODES)
def test_the_images_are_of_brokers_that_trim_and_rewrite(sync):
    session = BrokerSession(sync)
    with (
        small_broker_limits(),
        mock.patch.object(Engine, "rewrite", autospec=True, side_effect=Engine.rewrite) as rewrite,
        mock.patch.object(Commit, "trim", autospec=True, side_effect=Commit.trim) as trim,
    ):
        draining(session)
        session.close()
    assert rewrite.called
    assert trim.called
