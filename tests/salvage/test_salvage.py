"""Salvage: whatever is damaged, all that is whole is saved, at its place, and what is missing is told exactly."""

import errno
import random
from collections import Counter
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

import msglog
from msglog import CorruptionError, DiskFullError, InvalidOptionError, StoreLockedError
from msglog.salvaging.mending import Mending
from msglog.salvaging.salvage import salvage_to
from msglog.storage import Stream
from msglog.storage.checking import FrameScan, Scanned
from msglog.storage.filesystem.posix import OSFile
from msglog.storage.layout import parse_segment_name
from msglog.storage.segment import SegmentHeader, seed_of
from msglog.store.looking import open_overlay
from msglog.store.verifying import verify_directory
from support import everything
from support.disk import Disk, Image
from support.everything import DIRECTORY, damaged, disk, image_of
from support.faults import Fault, FaultPlan
from support.faulty_filesystem import FaultyFileSystem
from support.recovery import MODES
from support.scale import scaled
from support.session import small_limits
from support.synced import check_synced
from support.telling import tell

COPY = "/copy"
CASES = 60


class Place(NamedTuple):
    """A partition of a topic, or a queue with its lane's priority."""

    topic: str | None
    queue: str | None
    partition: int | None


class Found(NamedTuple):
    """What can be read of a store: records by offset, of queues the waiting ones; and its streams."""

    records: dict[Place, dict[int, Any]]
    streams: dict[int, Place]
    engine: Any


def read(filesystem, directory) -> Found:
    engine = open_overlay(filesystem, directory)
    records, streams = {}, {}
    for topic in engine.models["log"].topics.values():
        for number, stream in enumerate(topic.partitions):
            place = Place(topic.name, None, number)
            records[place], streams[stream.id] = records_of(stream, stream.start), place
    for queue in engine.models["broker"].queues.values():
        for lane in queue.lanes:
            place = Place(None, queue.name, None if lane is queue.only else lane.priority)
            everything_in_it = records_of(lane.stream, lane.stream.start)
            waiting = lane.cursor.unsettled_ranges(lane.stream.end)
            streams[lane.stream.id] = place
            records[place] = {
                offset: record
                for offset, record in everything_in_it.items()
                if any(first <= offset < end for first, end in waiting)
            }
    for bucket in engine.models["broker"].buckets.values():
        stream = engine.streams[bucket.stream_id]
        records[Place(None, None, None)] = records_of(stream, stream.start)
        streams[stream.id] = Place(None, None, None)
    return Found(records, streams, engine)


def records_of(stream: Stream, start: int) -> dict[int, Any]:
    found = {}
    reader = stream.reader(start)
    while (frame := reader.read()) is not None:
        stamps = frame.timestamps if isinstance(frame.timestamps, list) else [frame.timestamps] * frame.count
        keys = frame.keys or [None] * frame.count
        headers = frame.headers or [()] * frame.count
        found.update(zip(frame.offsets, zip(stamps, keys, frame.values, headers, strict=True), strict=True))
    return {offset: record for offset, record in found.items() if offset >= start}


def whole_offsets(sound: bytes, contents: bytes | None) -> set[int]:
    """Return the offsets of the frames of a segment's file that are whole after it was damaged."""

    class Bytes:
        path = ""

        def read(self, position, size):
            return (contents or b"")[position : position + size]

        def size(self):
            return len(contents or b"")

    header = SegmentHeader.unpack(sound[:64], "")
    frames = FrameScan(Bytes(), seed_of(header.seed), len(contents or b"")).frames(64)
    return {
        offset
        for frame in frames
        if isinstance(frame, Scanned)
        for offset in range(frame.base_offset, frame.next_offset)
    }


def tells_seed(contents: bytes | None) -> bool:
    """Whether the header of a segment's file is whole."""
    try:
        SegmentHeader.unpack((contents or b"")[:64], "")
    except CorruptionError:
        return False
    return True


def is_lack_of_checkpoints(problem):
    return problem.message == "there is no valid checkpoint"


class Judge:
    """Salvages damaged stores and compares with what was in the sound one."""

    def __init__(self, sound):
        self.sound = sound
        self.expected = read(disk(sound), DIRECTORY)
        self.counts = Counter()

    def salvage(self, image):
        target = FaultyFileSystem()
        source = disk(image)
        before = {path: inode.contents() for path, inode in source.disk.names.items()}
        report = salvage_to(source, DIRECTORY, target, COPY, was_there=False)
        assert {path: inode.contents() for path, inode in source.disk.names.items()} == before
        check_synced(target.disk, COPY, "checkpoint")
        found = read(target, COPY)
        assert found.engine.recovery.clean
        return report, found, target

    def judge(self, what, changes):
        image = self.sound
        for path, contents in changes.items():
            image = damaged(image, path, contents)
        try:
            report, found, target = self.salvage(image)
            self.compare(report, found, changes)
            problems = list(verify_directory(target, COPY, None))
            assert problems == []
        except Exception as error:
            raise AssertionError(f"{what} of {sorted(changes)}: {type(error).__name__}: {error}") from error
        self.counts["complete" if report.complete else "incomplete"] += 1
        self.counts["gaps"] += len(report.gaps)
        self.counts["adopted"] += len(report.adopted)

    def compare(self, report, found, changes):
        by_stream = {
            stream_id: found.records[place] for stream_id, place in found.streams.items() if place in found.records
        }
        gaps: dict[Place, set[int]] = {}
        for gap in report.gaps:
            assert gap.first_offset < gap.next_offset
            offsets = range(gap.first_offset, min(gap.next_offset, gap.first_offset + 10_000))
            place = Place(gap.topic, gap.queue, gap.partition)
            assert not gaps.setdefault(place, set()) & set(offsets), "gaps overlap"
            gaps[place].update(offsets)
        lost = self.lost_offsets(report, changes)
        state_is_whole = not report.lost_definitions
        for stream_id, place in self.expected.streams.items():
            expected = self.expected.records[place]
            got = by_stream.get(stream_id, {})
            if state_is_whole or place.topic is not None:
                wrong = {offset for offset, record in got.items() if offset in expected and expected[offset] != record}
                assert not wrong, f"{place}: other records at {wrong}"
            missing = expected.keys() - got.keys()
            allowed = lost.get(stream_id, set())
            assert missing <= allowed, f"{place}: {sorted(missing - allowed)} are missing, and were whole"
            if found.streams.get(stream_id) == place:
                told = gaps.get(place, set())
                if all(path in changes for path in self.sound.files if "/checkpoint-" in path):
                    # Where no checkpoint is left nobody knows where a stream ended whose last file is lost.
                    missing = {offset for offset in missing if offset < max(got, default=0)}
                assert missing <= told, f"{place}: {sorted(missing - told)} are missing without a word"
                assert not told & got.keys(), f"{place}: gaps with records in them"
                if state_is_whole:
                    assert got.keys() <= expected.keys(), f"{place}: more than there was"
                    if place.topic == "latest":
                        told &= expected.keys()  # what compaction removed looks the same where no checkpoint is left
                    assert told <= allowed, f"{place}: {sorted(told - allowed)} were whole and are called a gap"

    def lost_offsets(self, report, changes):
        """Return what damage to files takes from each stream."""
        lost = {}
        for path, contents in changes.items():
            parsed = parse_segment_name(path.rpartition("/")[2])
            if parsed is not None:
                whole = whole_offsets(self.sound.files[path], contents)
                if not tells_seed(contents) and any(map(is_lack_of_checkpoints, report.problems)):
                    whole = set()  # nobody knows by which seed the checksums of its frames are made
                lost.setdefault(parsed[0], set()).update(
                    whole_offsets(self.sound.files[path], self.sound.files[path]) - whole
                )
        return lost

    def report(self, record_property):
        tell(record_property, **self.counts)


@pytest.fixture(params=MODES)
def judge(request, tmp_path):
    with small_limits():
        everything.make(tmp_path / "s", sync=request.param)
        yield Judge(image_of(tmp_path / "s"))


def test_a_sound_store_is_saved_as_it_is(judge):
    report, found, _ = judge.salvage(judge.sound)
    assert report.complete
    assert report.problems == ()
    assert found.records == judge.expected.records
    states = [{name: model.snapshot() for name, model in one.engine.models.items()} for one in (found, judge.expected)]
    assert states[0] == states[1]


def test_flipped_bits(judge, record_property):
    chance = random.Random(11)
    for path, contents in judge.sound.files.items():
        meaning = [position for position, byte in enumerate(contents) if byte]
        for position in chance.sample(meaning, min(len(meaning), scaled(4))):
            flipped = bytearray(contents)
            flipped[position] ^= 1 << chance.randrange(8)
            judge.judge(f"a flip at {position}", {path: bytes(flipped)})
    assert judge.counts["gaps"]
    judge.report(record_property)


def test_lost_and_zeroed_and_truncated_files(judge, record_property):
    for path, contents in judge.sound.files.items():
        end = len(contents.rstrip(b"\0"))
        judge.judge("the loss", {path: None})
        judge.judge("zeros", {path: bytes(len(contents))})
        for length in {end // 2, max(0, end - 1)}:
            judge.judge(f"a cut at {length}", {path: contents[:length]})
    judge.report(record_property)


def test_several_damages_at_once(judge, record_property):
    chance = random.Random(12)
    paths = [path for path in judge.sound.files if not path.endswith((".index", "LOCK"))]
    for number in range(scaled(CASES)):
        changes = {}
        for path in chance.sample(paths, chance.randrange(2, 6)):
            contents = judge.sound.files[path]
            damage = chance.randrange(4)
            if damage == 0:
                changes[path] = None
            elif damage == 1:
                changes[path] = contents[: chance.randrange(len(contents) + 1)]
            elif damage == 2:
                at = chance.randrange(len(contents) + 1)
                changes[path] = contents[:at] + bytes(len(contents[at : at + 200])) + contents[at + 200 :]
            else:
                flipped = bytearray(contents)
                for _ in range(chance.randrange(1, 9) if contents else 0):
                    flipped[chance.randrange(len(contents))] ^= 1 << chance.randrange(8)
                changes[path] = bytes(flipped)
        judge.judge(f"damage {number}", changes)
    judge.report(record_property)


def test_without_any_checkpoint(judge, record_property):
    checkpoints = {path: None for path in judge.sound.files if "checkpoint-" in path}
    judge.judge("the loss", checkpoints)
    judge.judge("zeros", {path: bytes(9) for path in checkpoints})
    states = {path: None for path in judge.sound.files if "/state-" in path}
    judge.judge("the loss", checkpoints | states)
    assert not judge.counts["adopted"]  # the events tell all of it
    events = {path: None for path in judge.sound.files if "/segments/0-state" in path}
    judge.judge("the loss", checkpoints | states | events)
    assert judge.counts["adopted"] == len(judge.expected.streams)
    judge.report(record_property)


@pytest.mark.parametrize("sync", MODES)
def test_damage_to_a_store_that_was_killed(tmp_path, sync, record_property):
    with small_limits(), msglog.Store(tmp_path / "s", sync=sync) as store:
        everything.define(store)
        everything.fill(store)
        everything.consume(store)
        with store.core.engine.checkpoints, store.core.engine.lock:
            image = image_of(tmp_path / "s")
        judge = Judge(image)
        chance = random.Random(13)
        for path, contents in judge.sound.files.items():
            meaning = [position for position, byte in enumerate(contents) if byte]
            for position in chance.sample(meaning, min(len(meaning), scaled(3))):
                flipped = bytearray(contents)
                flipped[position] ^= 1 << chance.randrange(8)
                report, found, target = judge.salvage(damaged(judge.sound, path, bytes(flipped)))
                assert list(verify_directory(target, COPY, None)) == []
                for place, expected in judge.expected.records.items():
                    # Without the event that settled it a message waits again.
                    got = found.records.get(place, {})
                    assert [offset for offset in got.keys() & expected.keys() if got[offset] != expected[offset]] == []
                    assert place.queue or got.keys() <= expected.keys()
                judge.counts["complete" if report.complete else "incomplete"] += 1
    judge.report(record_property)


def test_what_only_the_journal_holds(tmp_path):
    """After a power cut the frames are in the journal alone; a damaged entry takes no other one with it."""
    with msglog.Store(tmp_path / "s") as store:
        store.log.create_topic("t")
        store.core.engine.checkpoint()
        with store.core.engine.checkpoints:
            for number in range(10):
                store.log.append("t", b"value-%d" % number)
            image = image_of(tmp_path / "s")
    files = {
        path: contents[:64].ljust(len(contents), b"\0") if "-t." in path else contents
        for path, contents in image.files.items()
    }
    for path, contents in files.items():
        if "/journal-" in path:
            files[path] = contents.replace(b"value-6", b"VALUE-6")
    target = FaultyFileSystem(Disk(recording=False))
    report = salvage_to(disk(Image(image.directories, files)), DIRECTORY, target, COPY, was_there=False)
    found = read(target, COPY).records[Place("t", None, 0)]
    assert {offset: record[2] for offset, record in found.items()} == {
        number: b"value-%d" % number for number in range(10) if number != 6
    }
    assert report.gaps == (msglog.Gap("t", None, 0, 6, 7),)
    assert [problem.kind for problem in report.problems] == ["journal"]
    assert not report.lost_definitions


# Through the public door


def test_what_is_left_goes_on(tmp_path):
    with msglog.Store(tmp_path / "s", sync="none") as store:
        everything.define(store)
        everything.fill(store)
        everything.consume(store)
        before = list(store.log.read("plain", 0))
        end = store.log.end_offset("plain", 0)
    with msglog.Store(tmp_path / "s", sync="none") as store:
        waiting = store.broker.peek("work", 100)
    (segment,) = [path for path in (tmp_path / "s" / "segments").glob("*plain.*") if b"value-0-0" in path.read_bytes()]
    segment.write_bytes(segment.read_bytes().replace(b"value-0-0", b"VALUE-0-0"))
    report = msglog.salvage(tmp_path / "s", tmp_path / "saved")
    assert report.source == str(tmp_path / "s")
    assert report.directory == str(tmp_path / "saved")
    assert [problem.kind for problem in report.problems] == ["frame"]
    (gap,) = report.gaps
    assert (gap.topic, gap.queue) == ("plain", None)
    with msglog.Store(tmp_path / "saved") as store:
        assert store.recovery.clean
        partition = gap.partition
        found = {record.offset: record for record in store.log.read("plain", partition)}
        assert not found.keys() & set(range(gap.first_offset, gap.next_offset))
        if partition == 0:
            assert [found.get(record.offset) for record in before if record.offset in found] == [
                record for record in before if not gap.first_offset <= record.offset < gap.next_offset
            ]
        assert store.log.end_offset("plain", 0) == end
        assert store.log.append("plain", b"next", partition=0).offset == end
        assert store.log.groups() == ["readers", "sharers"]
        assert [message.body for message in store.broker.peek("work", 100)] == [message.body for message in waiting]
        assert store.broker.publish("news", "a.b", b"goes on") == 1
        with store.log.producer("writer") as producer:
            assert producer.append("plain", b"again", sequence=0).duplicate
        assert list(store.verify()) == []
    assert list(msglog.verify(tmp_path / "saved")) == []


def test_a_damaged_message_does_not_stop_its_queue(tmp_path):
    with msglog.Store(tmp_path / "s", sync="none") as store:
        store.broker.declare_queue("q")
        for body in (b"one", b"two", b"three", b"four"):
            store.broker.send("q", body)
        store.broker.get("q").ack()
    for path in (tmp_path / "s" / "segments").glob("*queue-q.*"):
        path.write_bytes(path.read_bytes().replace(b"three", b"THREE"))
    report = msglog.salvage(tmp_path / "s", tmp_path / "saved")
    assert report.gaps == (msglog.Gap(None, "q", None, 2, 3),)
    with msglog.Store(tmp_path / "saved") as store:
        bodies = []
        while (delivery := store.broker.get("q")) is not None:
            bodies.append(delivery.body)
            delivery.ack()
        assert bodies == [b"two", b"four"]
        assert store.broker.peek("q") == []


def test_lost_definitions_leave_readable_streams(tmp_path):
    with msglog.Store(tmp_path / "s", sync="none") as store:
        store.log.create_topic("t", partitions=2)
        for number in range(5):
            store.log.append("t", b"%d" % number, key=b"k%d" % number)
        expected = sorted((record.key, record.value) for part in range(2) for record in store.log.read("t", part))
    for path in (tmp_path / "s").glob("state-*"):
        path.unlink()
    for path in (tmp_path / "s" / "segments").glob("0-state*"):
        path.unlink()
    report = msglog.salvage(tmp_path / "s", tmp_path / "saved")
    assert report.adopted == ("salvaged.1", "salvaged.2")
    assert report.lost_definitions
    assert not report.complete
    with msglog.Log(tmp_path / "saved") as log:
        found = sorted((record.key, record.value) for topic in log.topics() for record in log.read(topic))
    assert found == expected


def test_the_source_must_be_closed(tmp_path):
    with msglog.Store(tmp_path / "s"), pytest.raises(StoreLockedError):
        msglog.salvage(tmp_path / "s", tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    msglog.salvage(tmp_path / "s", tmp_path / "saved")


def test_paths_that_are_refused(tmp_path):
    with msglog.Store(tmp_path / "s"):
        pass
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    for path, into in [
        (tmp_path / "missing", tmp_path / "saved"),
        (tmp_path / "full", tmp_path / "saved"),
        (":memory:", tmp_path / "saved"),
        (tmp_path / "s", tmp_path / "full"),
        (tmp_path / "s", tmp_path / "s"),
        (tmp_path / "s", tmp_path / "s" / "inside"),
    ]:
        with pytest.raises(InvalidOptionError):
            msglog.salvage(path, into)
        assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("fault", [Fault.EIO, Fault.ENOSPC, Fault.SHORT_WRITE], ids=lambda fault: fault.name)
def test_every_call_that_fails_leaves_nothing(tmp_path, fault, record_property):
    with small_limits():
        everything.make(tmp_path / "s")
        image = image_of(tmp_path / "s")
        counted = FaultPlan(fault, FaultPlan.NEVER)
        target = FaultyFileSystem(Disk(recording=False))
        target.plan = counted
        salvage_to(disk(image), DIRECTORY, target, COPY, was_there=False)
        tried = 0
        for number in range(0, counted.seen, max(1, counted.seen // scaled(25))):
            target = FaultyFileSystem(Disk(recording=False))
            target.plan = FaultPlan(fault, number)
            try:
                salvage_to(disk(image), DIRECTORY, target, COPY, was_there=False)
            except msglog.MsglogError as error:
                refusal = error
            else:
                assert fault is Fault.EIO  # what could not be read is asked for again, block by block
                continue
            assert refusal.outcome == "not_applied"
            assert fault is Fault.EIO or isinstance(refusal, DiskFullError | msglog.StoreFailedError)
            target.plan = None
            assert not any(name.startswith(COPY) for name in target.disk.names)
            tried += 1
    tell(record_property, failures=tried)


def test_what_the_disk_does_not_read_is_a_gap(tmp_path, monkeypatch):
    with msglog.Store(tmp_path / "s") as store:
        store.log.create_topic("t")
        for _ in range(20):
            store.log.append_many("t", [b"x" * 1000] * 10)
    (segment,) = (tmp_path / "s" / "segments").glob("*-t.*[0-9]")
    read = OSFile.read
    bad = range(104_000, 104_001)

    def fail(file, position, size):
        if file.path == str(segment) and position < bad.stop and position + size > bad.start:
            raise OSError(errno.EIO, "Input/output error", file.path)
        return read(file, position, size)

    monkeypatch.setattr(OSFile, "read", fail)
    report = msglog.salvage(tmp_path / "s", tmp_path / "saved")
    (gap,) = report.gaps
    assert gap.next_offset - gap.first_offset == 10
    assert [(problem.kind, problem.first_offset, problem.next_offset) for problem in report.problems] == [
        ("frame", gap.first_offset, gap.next_offset)
    ]
    with msglog.Store(tmp_path / "saved") as saved:
        offsets = [record.offset for record in saved.log.read("t")]
        assert offsets == [*range(gap.first_offset), *range(gap.next_offset, 200)]
        assert list(saved.verify()) == []


def test_cursors_of_share_groups_whose_topics_are_lost_are_given_up():
    with msglog.Store(":memory:") as store:
        store.log.create_topic("lost", partitions=2)
        store.log.append_many("lost", [b"1", b"2"])
        with store.log.share_consumer("lost", group="workers", start="earliest") as consumer:
            assert consumer.poll(timeout=0)
        engine = store.core.engine
        models: dict[str, Any] = engine.models
        topic = models["log"].topics.pop("lost")
        del models["log"].topic_ids[topic.id]
        assert models["cursors"].cursors
        with engine.lock:
            made = Mending(SimpleNamespace(engine=engine)).adopt()
        assert len(made) == 2
        assert models["cursors"].cursors == {}
        assert not any(models["shares"].groups.values())
