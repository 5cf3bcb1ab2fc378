"""Verifying: whatever a reader or recovery would stumble over is found, and a store at work raises no false alarm."""

import random
from collections import Counter
from pathlib import Path

import pytest

import msglog
from msglog.cursors import OffsetRanges
from msglog.storage.filesystem import OSFileSystem
from msglog.store.verifying import verify_directory
from support import everything
from support.everything import DIRECTORY, damaged, disk, image_of, read_all
from support.recovery import MODES
from support.scale import scaled
from support.session import small_limits
from support.telling import tell

FLIPS = 500


def verify(image):
    return list(verify_directory(disk(image), DIRECTORY, None))


@pytest.fixture(params=MODES)
def sound(request, tmp_path):
    with small_limits():
        everything.make(tmp_path / "s", sync=request.param)
        yield image_of(tmp_path / "s")


class Judge:
    """Compares what verifying finds with what opening and reading stumble over."""

    def __init__(self, sound):
        self.sound = sound
        self.expected = read_all(sound)
        self.counts = Counter()

    def judge(self, what, path, contents):
        image = damaged(self.sound, path, contents)
        problems = verify(image)
        assert all("\n" not in f"{problem}{problem!r}" for problem in problems)
        noticed = None
        try:
            if read_all(image) != self.expected:
                noticed = "other contents"
        except Exception as error:  # noqa: BLE001 whatever it is
            noticed = error
        if noticed is not None:
            assert problems, f"{what} of {path} was not found: {noticed!r}"
        self.counts["noticed" if noticed else "found" if problems else "harmless"] += 1


def test_a_sound_store_has_no_problems(sound):
    assert verify(sound) == []


def test_every_flip_that_matters_is_found(sound, record_property):
    judge = Judge(sound)
    chance = random.Random(3)
    for path, contents in sound.files.items():
        meaning = [position for position, byte in enumerate(contents) if byte]
        chosen = chance.sample(meaning, min(len(meaning), scaled(FLIPS) // len(sound.files) + 4))
        for position in chosen:
            flipped = bytearray(contents)
            flipped[position] ^= 1 << chance.randrange(8)
            judge.judge(f"a flip at {position}", path, bytes(flipped))
    assert judge.counts["noticed"]
    assert judge.counts["harmless"]
    tell(record_property, **judge.counts)


def test_every_flip_in_the_bytes_of_frames_is_found(sound, record_property):
    chance = random.Random(4)
    checked = 0
    for path, contents in sound.files.items():
        if "/segments/" not in path or path.endswith(".index"):
            continue
        end = len(contents.rstrip(b"\0"))
        for position in chance.sample(range(end), min(end, scaled(12))):
            flipped = bytearray(contents)
            flipped[position] ^= 1 << chance.randrange(8)
            problems = verify(damaged(sound, path, bytes(flipped)))
            assert [problem.path for problem in problems if problem.path == path], (path, position)
            checked += 1
    tell(record_property, flips=checked)


def test_truncated_zeroed_and_missing_files(sound, record_property):
    judge = Judge(sound)
    for path, contents in sound.files.items():
        end = len(contents.rstrip(b"\0"))
        judge.judge("the loss", path, None)
        judge.judge("zeros instead", path, bytes(len(contents)))
        for length in {0, end // 3, end - 1, end}:
            if 0 <= length < len(contents):
                judge.judge(f"a cut at {length}", path, contents[:length])
    tell(record_property, **judge.counts)


def test_what_is_found_names_topic_partition_and_offsets(tmp_path):
    with msglog.Store(tmp_path) as store:
        store.log.create_topic("t", partitions=2)
        store.broker.declare_queue("q")
        for value in (b"one", b"two", b"three"):
            store.log.append("t", value, partition=1)
            store.broker.send("q", value)
        before = store.metrics()["commits"]
        for file in (tmp_path / "segments").iterdir():
            file.write_bytes(file.read_bytes().replace(b"two", b"too"))
        found = sorted(store.verify(), key=lambda problem: str(problem.queue))
        assert store.metrics()["commits"] == before
        offline = sorted(msglog.verify(tmp_path), key=lambda problem: str(problem.queue))
    assert found == offline == sorted(msglog.verify(tmp_path), key=lambda problem: str(problem.queue))
    topic, queue = found
    assert (topic.kind, topic.topic, topic.partition, topic.first_offset, topic.next_offset) == ("frame", "t", 1, 1, 2)
    assert (queue.kind, queue.topic, queue.queue, queue.first_offset, queue.next_offset) == ("frame", None, "q", 1, 2)
    assert str(topic).startswith(f"frame: {topic.path} at {topic.position}: ")
    assert str(topic).endswith("(topic 't', partition 1, offsets 1 to before 2)")
    assert "two" not in repr(found)


# What must hold in the models, broken on purpose


@pytest.fixture
def store(tmp_path):
    with msglog.Store(tmp_path / "s", sync="none") as store:
        everything.define(store)
        everything.fill(store)
        everything.consume(store)
        yield store


def _model(store, section):
    return store.core.engine.models[section]


def _lane(store):
    return store.broker._model.queues["work"].lanes[0]


def _break_cursor_next(store):
    _lane(store).cursor.next = 1000


def _break_cursor_settled(store):
    _lane(store).cursor.settled = _lane(store).cursor.next + 1


def _break_cursor_done(store):
    _lane(store).cursor.done = OffsetRanges([(900, 905)])


def _break_cursor_unsettled(store):
    _lane(store).cursor.unsettled[999] = object()


def _break_noted_next(store):
    _lane(store).cursor.noted_next = 1 << 40


def _lose_lane_stream(store):
    del store.core.engine.streams[_lane(store).stream.id]


def _lose_cursor(store):
    del _model(store, "cursors").cursors[_lane(store).cursor.id]


def _orphan_stream(store):
    store.core.engine.table.add_stream(99, "orphan")


def _orphan_cursor(store):
    _model(store, "cursors").apply(["open", 99, 0])


def _share_stream(store):
    topic = _model(store, "log").topics["plain"]
    topic.stream_ids[1] = topic.stream_ids[0]


def _lose_topic_id(store):
    del _model(store, "log").topic_ids[1]


def _commit_beyond(store):
    _model(store, "groups").apply(["commit", "readers", [[1, 0, 1 << 30]]])


def _commit_nowhere(store):
    _model(store, "groups").apply(["commit", "readers", [[1, 7, 0]]])


def _break_producer(store):
    _model(store, "log").producers["writer"].last_sequence = 70


def _break_producer_place(store):
    _model(store, "log").producers["writer"].batches[0].places[0][1] = 1 << 30


def _break_share_group(store):
    _model(store, "shares").groups["sharers"][77, 0] = 1


def _lose_share_cursor(store):
    _model(store, "shares").groups["sharers"][1, 0] = 1234


def _lose_bucket_stream(store):
    (bucket,) = _model(store, "broker").buckets
    del store.core.engine.streams[bucket]


def _release_beyond(store):
    (bucket,) = _model(store, "broker").buckets.values()
    bucket.released = (5, 1 << 30)


def _lose_queue(store):
    _model(store, "broker").queues["other"] = _model(store, "broker").queues.pop("work")


def _break_queue_ids(store):
    _model(store, "broker").next_queue_id = 1


def _break_cleaning(store):
    _model(store, "log").topics["latest"].cleaning_of(0).end = 1 << 30


def _break_start(store):
    stream = _model(store, "log").topics["plain"].partitions[0]
    stream.start = stream.end + 5


def _break_end(store):
    store.core.engine.streams[_lane(store).stream.id].next_offset += 3


def _break_seal(store):
    _model(store, "log").topics["small"].partitions[0].parts[0].sealed = False


def _break_facts(store):
    _model(store, "log").topics["small"].partitions[0].parts[0].max_timestamp_ms += 1


def _break_total(store):
    _model(store, "log").topics["small"].partitions[0].parts[0].value_total += 1


def _strange_segment(store):
    (Path(store.path) / "segments" / f"1-plain.{0:020d}.900").write_bytes(b"?")


def _strange_name(store):
    (Path(store.path) / "notes.txt").write_bytes(b"?")


def _strange_name_among_segments(store):
    (Path(store.path) / "segments" / "notes.txt").write_bytes(b"?")


KINDS = ("_break", "_commit", "_lose", "_orphan", "_release", "_share_", "_strange")
BREAKS = [damage for name, damage in list(globals().items()) if name.startswith(KINDS)]


@pytest.mark.parametrize("damage", BREAKS, ids=lambda damage: damage.__name__.strip("_"))
def test_what_is_wrong_in_memory_is_found(store, damage):
    assert list(store.verify()) == []
    damage(store)
    try:
        problems = list(store.verify())
        assert problems
        assert all(isinstance(problem, msglog.Problem) and "\n" not in str(problem) for problem in problems)
    finally:
        store.core.engine.stop_writing("a test broke it", OSError())  # so that closing writes none of this down


def test_the_index_by_key_is_checked(tmp_path):
    with msglog.Store(tmp_path / "s", sync="none") as store:
        store.log.create_topic("t")
        for number in range(20_000):
            store.log.append("t", b"v", key=b"%d" % (number % 7))
        assert len(list(store.log.read_key("t", b"3"))) > 1000
        assert list(store.verify()) == []
    runs = sorted((tmp_path / "s" / "keys").iterdir())
    assert runs
    assert list(msglog.verify(tmp_path / "s")) == []
    contents = bytearray(runs[0].read_bytes())
    contents[30] ^= 1
    runs[0].write_bytes(contents)
    (problem,) = msglog.verify(tmp_path / "s")
    assert (problem.kind, problem.path) == ("index", str(runs[0]))
    (tmp_path / "s" / "keys" / "notes").write_bytes(b"?")
    assert {problem.kind for problem in msglog.verify(tmp_path / "s")} == {"index", "file"}


def test_a_path_that_may_not_be_read_is_a_typed_error(tmp_path, monkeypatch):
    msglog.Store(tmp_path / "s").close()

    def refuse(_filesystem, path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(OSFileSystem, "list", refuse)
    with pytest.raises(msglog.StoreFailedError, match="Permission denied"):
        list(msglog.verify(tmp_path / "s"))
    with pytest.raises(msglog.StoreFailedError, match="Permission denied"):
        msglog.salvage(tmp_path / "s", tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
