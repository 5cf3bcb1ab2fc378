"""Loss of power and death of the process: whatever is left of records and runs, what the index says is true.

Records of each life have other keys, or the same keys elsewhere: a run that saw what a crash took would be caught.
"""

import itertools
import random

import pytest

from msglog import Log, MsglogError
from msglog.log import batches, placing
from msglog.testing import ManualClock
from support.broker_session import open_store
from support.crash_images import crash_images, torn_kills
from support.disk import Disk, Image
from support.faulty_filesystem import FaultyFileSystem
from support.keyed import check_decisions, check_keys, counting_reads, small_runs
from support.operations import Create, Sync, SyncDirectory, Unlink
from support.recovery import MODES
from support.scale import scaled
from support.session import small_limits
from support.telling import tell

SEGMENT_BYTES = 600
STRIDE = 12
"""Of the images of a normal run one of so many is opened."""
GENERATIONS = 5
KEYS = [b"k%d" % number for number in range(6)]


@pytest.fixture(autouse=True)
def small():
    with small_limits(), small_runs(rows=4, block=2):
        yield


def open_log(filesystem, sync) -> Log:
    return open_store(filesystem, ManualClock(), sync=sync, segment_bytes=SEGMENT_BYTES).log


def bury(log):
    """Let nothing of a process that was killed write when it is collected."""
    log.store.core.engine.closed = True
    log.store.core.timers.close()
    log._closed = log.store._closed = True


def work(log, chance, steps):
    """Append in all ways, remove, compact, ask."""
    for _ in range(steps):
        topic = chance.choice(["t", "t", "c"])
        key = chance.choice(KEYS)
        match chance.randrange(10):
            case 0 | 1 | 2:
                record = log.last_record(topic, key)
                log.append(topic, b"x" * 20, key=key, expected_key_offset=-1 if record is None else record.offset)
            case 3 | 4:
                log.append(topic, b"x" * chance.randrange(40), key=key)
            case 5 | 6:
                log.append_many(topic, [b"y"] * 5, keys=[chance.choice(KEYS) for _ in range(5)])
            case 7:
                log.append_many("t", [b"z"] * 4)
            case 8:
                start, end = log.start_offset(topic), log.end_offset(topic)
                log.delete_records(topic, 0, chance.randint(start, (start + end) // 2))
            case 9:
                if chance.random() < 0.3:
                    log.clean(topic)
                elif chance.random() < 0.3:
                    log.store.flush()


def check(log):
    for topic in log.topics():
        check_decisions(log, topic, KEYS, truth=check_keys(log, topic, KEYS))


def record_lives(sync, seed) -> Disk:
    """Two lives, the first one killed."""
    chance = random.Random(seed)
    filesystem = FaultyFileSystem()
    log = open_log(filesystem, sync)
    log.create_topic("t")
    log.create_topic("c", cleanup_policy="compact")
    work(log, chance, 30)
    filesystem = filesystem.kill()
    bury(log)
    log = open_log(filesystem, sync)
    work(log, chance, 25)
    log.delete_topic("c")
    log.close()
    log.store.close()
    return filesystem.disk


@pytest.mark.parametrize("sync", MODES)
def test_every_crash_leaves_an_index_that_is_true(sync, record_property):
    disk = record_lives(sync, seed=3)
    assert any("/keys/" in getattr(operation, "path", "") for operation in disk.operations)
    tried = 0
    images = crash_images(disk.start, disk.operations, seed=1, each=1, chances=scaled(1))
    for image in itertools.islice(images, 0, None, 1 if scaled(1) > 1 else STRIDE):
        log = open_log(FaultyFileSystem(Disk(image.build(), recording=False)), MODES[tried % 3])
        try:
            check(log)
            if "t" in log.topics():
                log.append_many("t", [b""] * 6, keys=KEYS)
            check(log)
        except Exception as error:
            raise AssertionError(f"{image}: {type(error).__name__}: {error}") from error
        finally:
            bury(log)
        tried += 1
    assert tried > 100
    tell(record_property, crash_images=tried)


def test_death_in_the_middle_of_a_store_leaves_a_true_index(record_property):
    disk = record_lives("none", seed=4)
    tried = 0
    images = torn_kills(disk.start, disk.operations, seed=1)
    for point, image in itertools.islice(images, 0, None, 1 if scaled(1) > 1 else STRIDE):
        log = open_log(FaultyFileSystem(Disk(image, recording=False)), MODES[tried % 3])
        try:
            check(log)
        except Exception as error:
            raise AssertionError(f"after {point} operations: {error}") from error
        finally:
            bury(log)
        tried += 1
    tell(record_property, torn_stores=tried)


def crash(filesystem, chance) -> Image:
    """Return something that the disk may hold if the power fails about now."""
    disk = filesystem.disk
    first = max(0, len(disk.operations) - 25)
    images = crash_images(disk.start, disk.operations, seed=chance.randrange(1 << 30), each=1, chances=2, first=first)
    chosen = None
    for number, image in enumerate(images, 1):
        if chance.randrange(number) == 0:
            chosen = image.build()
    assert chosen is not None
    return chosen


@pytest.mark.parametrize("seed", range(scaled(30)))
def test_crash_after_crash(seed, record_property):
    """Numbers of commits and offsets are given anew after each loss: no run of a lost past is believed in any life."""
    chance = random.Random(seed)
    image = Image()
    mode = "none" if seed % 2 else "interval"
    for generation in range(GENERATIONS):
        filesystem = FaultyFileSystem(image)
        log = open_log(filesystem, "commit" if seed % 7 == 0 else mode)
        try:
            for topic, policy in (("t", "delete"), ("c", "compact")):
                log.create_topic(topic, cleanup_policy=policy, exist_ok=True)
            if chance.random() < 0.5:
                check(log)
                work(log, chance, chance.randrange(5, 40))
                check(log)
            else:  # a life in which nobody asks by key
                for _ in range(chance.randrange(40)):
                    topic, count = chance.choice("tc"), chance.randrange(1, 4)
                    log.append_many(topic, [b""] * count, keys=[chance.choice(KEYS) for _ in range(count)])
            if chance.random() < 0.2:
                log.store.flush()
        except (AssertionError, MsglogError) as error:
            raise AssertionError(f"generation {generation}: {type(error).__name__}: {error}") from error
        finally:
            bury(log)
        image = crash(filesystem, chance)
    tell(record_property, crashes=GENERATIONS)


def lose_the_records() -> tuple[Image, list[str]]:
    """Return a disk that has lost records but kept the runs that saw them, and the paths of those."""
    filesystem = FaultyFileSystem()
    log = open_log(filesystem, "none")
    log.create_topic("t")
    log.append_many("t", [b""] * 6, keys=KEYS)
    log.store.flush()
    before = filesystem.disk.image()
    log.append_many("t", [b""] * 12, keys=KEYS[:3] * 4)
    check_keys(log, "t")
    after = filesystem.disk.image()
    bury(log)
    runs = {path: data for path, data in after.files.items() if "/keys/" in path}
    assert runs
    return Image(after.directories, {**before.files, **runs}), list(runs)


@pytest.mark.parametrize("sync", MODES)
def test_a_run_that_saw_what_was_lost_is_not_believed_in_any_life(sync):
    image, _ = lose_the_records()
    for asked_in in range(3):
        filesystem = FaultyFileSystem(image)
        for life in range(3):
            log = open_log(filesystem, sync)
            for _ in range(8):  # past the lost commits, and past the offsets that the run covers
                log.append_many("t", [b""] * 6, keys=[KEYS[3], *KEYS[1:]])
            if life >= asked_in:
                check(log)
            log.close()
            log.store.close()


@pytest.mark.parametrize("sync", MODES)
def test_such_a_run_cannot_come_back_once_commits_are_numbered_anew(sync):
    image, runs = lose_the_records()
    filesystem = FaultyFileSystem(image)
    log = open_log(filesystem, sync)
    opened = len(filesystem.disk.operations)
    log.append_many("t", [b""] * 6, keys=KEYS)
    filesystem.disk.notice()
    operations = filesystem.disk.operations
    bury(log)
    tried = 0
    for after in crash_images(image, operations, seed=1, first=opened, each=8, chances=8):
        assert not after.build().files.keys() & set(runs), after
        tried += 1
    assert tried


def test_what_takes_the_place_of_runs_is_durable_before_they_go():
    log = open_log(FaultyFileSystem(), "none")
    log.create_topic("t")
    for number in range(40):
        log.append("t", b"", key=KEYS[number % 6], expected_key_offset=number - 6 if number >= 6 else -1)
    operations = log.store.core.engine.filesystem.disk.operations
    made = [place for place, done in enumerate(operations) if isinstance(done, Create) and "/keys/" in done.path]
    gone = [
        place
        for place, done in enumerate(operations)
        if isinstance(done, Unlink) and "/keys/" in done.path and any(operations[m].path == done.path for m in made)
    ]
    assert len(gone) > 3
    for place in gone:
        last = max(m for m in made if m < place)
        between = operations[last:place]
        assert Sync(operations[last].inode) in between
        assert SyncDirectory("/store/keys") in between
    bury(log)


def test_a_run_covers_what_is_visible_only():
    """What waits for its sync may vanish, and its numbers may be given anew."""
    log = open_log(FaultyFileSystem(), "commit")
    log.create_topic("t")
    for number in range(3):
        log.append("t", b"", key=KEYS[number], expected_key_offset=-1)
    engine, topic = log.store.core.engine, log._model.topic("t")
    batch = batches.batch_of_many(
        topic, 0, [b""] * 6, key=None, keys=KEYS, headers=None, partition=None, timestamps_ms=None,
        expected_offset=None, expected_key_offset=None,
    )  # fmt: skip
    placing.prepare(batch)
    with engine.lock:
        commit = engine.begin()
        placed = placing.place(commit, batch, 0)
        commit.write()
        placing.note(batch, placed)
    index = topic.indexes.find(topic.partitions[0])
    assert (index.end, topic.partitions[0].end) == (9, 3)
    index.tidy()
    (run,) = index._stored.runs
    assert (run.span.end, run.span.commit, run.rows) == (3, engine.published, 3)
    engine.wait(engine.commit_number)
    check(log)
    bury(log)


@pytest.mark.parametrize("sync", MODES)
def test_a_kill_costs_a_look_behind_the_last_run(sync):
    filesystem = FaultyFileSystem()
    log = open_log(filesystem, sync)
    log.create_topic("t")
    for number in range(61):
        record = log.last_record("t", KEYS[number % 6])
        log.append("t", b"", key=KEYS[number % 6], expected_key_offset=-1 if record is None else record.offset)
    filesystem = filesystem.kill()
    bury(log)
    log = open_log(filesystem, sync)
    with counting_reads() as lengths:
        check(log)
    assert sum(lengths) < 8
    log.close()
    log.store.close()
