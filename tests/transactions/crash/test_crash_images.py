"""Loss of power, and death of the process, after every single file operation of transactions at work.

Whatever the disk may hold then, each transaction is there as a whole or not at all, in the order of the commits, and
what returned survives as the sync mode promises.
"""

import pytest

from support.broker_session import small_broker_limits
from support.crash_images import crash_images, torn_kills
from support.recovery import MODES
from support.scale import scaled
from support.telling import tell
from support.transacting import World, WorldCheck, check_books, prepared, recover, work

STRIDE = 40
"""Of the images of a normal run, one of so many is opened, and half of those of a kill; of a longer one, all."""


def _record(sync) -> World:
    world = World(sync, *prepared(sync))
    world.open()
    work(world)
    world.filesystem.disk.check_maps()
    return world


@pytest.mark.parametrize("sync", MODES)
def test_what_was_done_is_what_is_found(sync):
    with small_broker_limits():
        world = _record(sync)
        world.store.flush()
        world.history.promise(world.history.last, world.moment)
        found = recover(world.filesystem.disk.image(), world.clock.now_ms(), sync)
        assert found == world.books, world.books.difference(found)


@pytest.mark.parametrize("sync", MODES)
def test_after_every_crash_a_transaction_is_whole_or_absent(sync, record_property):
    with small_broker_limits():
        world = _record(sync)
        world.end()
        disk = world.filesystem.disk
        check = WorldCheck(world)
        images = crash_images(disk.start, disk.operations, seed=1, each=1, chances=scaled(1))
        for number, image in enumerate(images):
            if scaled(1) > 1 or number % STRIDE == 0 or (image.killed and number % 2 == 0):
                check.check(image)
    tell(record_property, crash_images=check.tried)


@pytest.mark.parametrize("sync", MODES)
def test_death_in_the_middle_of_a_store_is_no_half_of_one_either(sync, record_property):
    with small_broker_limits():
        world = _record(sync)
        world.end()
        disk = world.filesystem.disk
        tried = 0
        for number, (point, image) in enumerate(torn_kills(disk.start, disk.operations, seed=1)):
            if scaled(1) > 1 or number % STRIDE == 0:
                found = recover(image, world.clock.now_ms(), MODES[tried % 3])
                check_books(world.history, found, point, killed=True)
                tried += 1
    tell(record_property, torn_stores=tried)
