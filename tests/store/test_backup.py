"""Backups of stores at work: each is a prefix of what was committed, covers all before the call, and opens clean."""

import errno
import itertools
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import msglog
from msglog import BackupReport, ClosedError, CorruptionError, DiskFullError, InvalidOptionError, InvalidTypeError
from msglog.clock import SystemClock
from msglog.storage import Engine
from msglog.storage.copying import NewStore, note_store
from msglog.store import backing_up
from msglog.store import core as cores
from msglog.store.backing_up import backup_to
from msglog.store.looking import Options, open_reader
from msglog.store.registration import model_factories
from support import everything
from support.crowd_of_everything import Crowd
from support.disk import Disk
from support.everything import DIRECTORY, disk, image_of, read_all
from support.faults import Fault, FaultPlan
from support.faulty_filesystem import FaultyFileSystem
from support.recovery import MODES
from support.scale import scaled
from support.session import small_limits
from support.synced import check_synced
from support.telling import tell

ROUNDS = 8
TESTS = Path(__file__).parents[1]


def check_copy(directory):
    """A copy is a closed store without a fault; return its end offsets."""
    assert list(msglog.verify(directory)) == []
    with msglog.Store(directory) as copy:
        assert copy.recovery.clean
        assert copy.recovery.quarantined == copy.recovery.removed == ()
        assert list(copy.verify()) == []


@pytest.mark.parametrize("sync", MODES)
def test_the_copy_holds_what_the_store_holds(tmp_path, sync):
    with small_limits(), msglog.Store(tmp_path / "s", sync=sync, segment_bytes=4096) as store:
        everything.define(store)
        everything.fill(store)
        everything.consume(store)
        report = store.backup(tmp_path / "copy")
        assert report == BackupReport(
            str(tmp_path / "copy"), int(store.metrics()["commits"]), report.files, report.bytes, report.duration_ms
        )
        files = [file for file in (tmp_path / "copy").rglob("*") if file.is_file()]
        assert report.files == len(files)
        assert 0 < report.bytes <= sum(file.stat().st_size for file in files)
        assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
        state = {name: model.snapshot() for name, model in store.core.engine.models.items()}
        live = {
            (topic, number): list(store.log.read(topic, number))
            for topic in store.log.topics()
            for number in range(len(store.log.describe_topic(topic).partitions))
        }
        found_state, _ = read_all(image_of(tmp_path / "copy"))
        assert found_state == state
    check_copy(tmp_path / "copy")
    with msglog.Store(tmp_path / "copy") as copy:
        assert {key: list(copy.log.read(*key)) for key in live} == live
        copy.log.append("plain", b"goes on", partition=0)
        assert [record.value for record in copy.log.read("plain", 0)][-1] == b"goes on"


@pytest.mark.parametrize("sync", MODES)
def test_backups_under_load(tmp_path, sync, record_property):
    # Each life begins anew: what is written grows all the time, and with it what a backup takes.
    pairs = [_written_beside_backups(tmp_path / str(life), sync) for life in range(scaled(1))]
    tell(record_property, backups=ROUNDS * len(pairs), pairs=sum(pairs))


def _written_beside_backups(directory, sync):
    """Make backups while others write; return how many pairs of records there were in the end."""
    directory.mkdir()
    with small_limits(), msglog.Store(directory / "s", sync=sync, segment_bytes=4096) as store:
        log = store.log
        for name in ("left", "right"):
            log.create_topic(name, segment_bytes=2048)
        crowd = Crowd(store)
        written = [0]
        stop = threading.Event()

        def write_pairs():
            with log.producer("pairs") as producer:
                for number in itertools.count():
                    if stop.is_set():
                        return
                    producer.append("left", b"%d" % number)
                    log.append("right", b"%d" % number)
                    written[0] = number + 1

        writer = threading.Thread(target=write_pairs)
        writer.start()
        with crowd.at_work():
            for number in range(ROUNDS):
                before = written[0]
                report = store.backup(directory / f"copy-{number}")
                _check_pairs(directory / f"copy-{number}", report, before, written[0])
        stop.set()
        writer.join(60)
        assert list(store.verify()) == []
    with msglog.Store(directory / "s") as store:
        assert store.recovery.clean
        assert list(store.verify()) == []
    return written[0]


def _check_pairs(directory, report, before, after):
    """A copy has the pairs that were written before the backup began, and none from after its end."""
    check_copy(directory)
    with msglog.Store(directory) as copy:
        left = [record.value for record in copy.log.read("left")]
        right = [record.value for record in copy.log.read("right")]
        assert report.commit < copy.metrics()["commits"] + 1
    assert left == [b"%d" % place for place in range(len(left))]
    assert right == left[: len(right)]
    assert before <= len(right) <= len(left) <= min(len(right) + 1, after + 1)


@pytest.mark.parametrize("sync", MODES)
def test_backups_of_a_store_that_another_process_writes(tmp_path, sync, record_property):
    for life in range(scaled(1)):
        _back_up_what_a_process_writes(tmp_path / str(life), sync)
    tell(record_property, backups=(ROUNDS + 1) * scaled(1))


def _back_up_what_a_process_writes(directory, sync):
    directory.mkdir()
    arguments = [sys.executable, "-m", "support.crowd_of_everything", str(directory / "s"), sync]
    with subprocess.Popen(arguments, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"ready\n"
        with msglog.Store(directory / "s", readonly=True) as store:
            for number in range(ROUNDS):
                store.log.topics()  # it sees what was published
                before = store.metrics()["commits"]
                assert store.backup(directory / f"copy-{number}").commit >= before
                check_copy(directory / f"copy-{number}")
            writer.kill()
            writer.wait()
            store.backup(directory / "after")  # as the crash has left it
    check_copy(directory / "after")


@pytest.mark.parametrize("target", ["s", "s/inside", "s/segments", "full", "file", "link", "link/inside", ""])
def test_places_that_are_refused(tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with msglog.Store("s") as store:
        (tmp_path / "link").symlink_to(tmp_path / "s")
        before = image_of(tmp_path / "s").files
        with pytest.raises(InvalidOptionError, match="directory"):
            store.backup(target)
        assert image_of(tmp_path / "s").files == before
    assert (tmp_path / "full" / "notes").read_text() == "mine"


@pytest.mark.parametrize("target", [None, 7, b"bytes", ["a"]])
def test_a_place_of_the_wrong_type(target):
    with msglog.Store(":memory:") as store, pytest.raises(InvalidTypeError):
        store.backup(target)


def test_an_empty_directory_is_taken_and_left(tmp_path):
    (tmp_path / "copy").mkdir()
    with msglog.Store(tmp_path / "s") as store:
        store.backup(tmp_path / "copy")
    check_copy(tmp_path / "copy")


def test_the_copy_is_locked_while_it_is_made(tmp_path):
    with msglog.Store(tmp_path / "s") as store:
        everything.define(store)
        seen = []

        def progress(_done, _total):
            with pytest.raises(msglog.StoreLockedError):
                msglog.Store(tmp_path / "copy")
            with pytest.raises(InvalidOptionError):
                store.backup(tmp_path / "copy")
            seen.append(True)

        store.backup(tmp_path / "copy", progress=progress)
    assert seen
    check_copy(tmp_path / "copy")


def test_a_store_that_was_made_there_meanwhile_is_left_alone(tmp_path, monkeypatch):
    with msglog.Store(tmp_path / "s") as store:
        everything.define(store)

        def overtaken(directory, source, check=backing_up.check_target):
            found = check(directory, source)
            with msglog.Store(tmp_path / "copy") as other:
                other.log.create_topic("mine")
            return found

        monkeypatch.setattr(backing_up, "check_target", overtaken)
        with pytest.raises(InvalidOptionError):
            store.backup(tmp_path / "copy")
    with msglog.Store(tmp_path / "copy") as other:
        assert other.recovery.clean
        assert other.log.topics() == ["mine"]
        assert list(other.verify()) == []


def test_who_comes_second_takes_nothing_from_who_came_first(tmp_path, monkeypatch):
    with msglog.Store(tmp_path / "s") as store:
        everything.define(store)
        begin = NewStore.begin

        def overtake(copy):
            begin(copy)
            with monkeypatch.context() as patch:
                patch.setattr(NewStore, "begin", begin)
                patch.setattr(backing_up, "check_target", lambda *_: (str(tmp_path / "copy"), False))
                with pytest.raises(msglog.StoreLockedError):
                    store.backup(tmp_path / "copy")

        monkeypatch.setattr(NewStore, "begin", overtake)
        store.backup(tmp_path / "copy")
    check_copy(tmp_path / "copy")


def test_damage_is_not_copied(tmp_path):
    with msglog.Store(tmp_path / "s") as store:
        store.log.create_topic("t")
        for value in (b"one", b"two", b"three"):
            store.log.append("t", value)
        (segment,) = (tmp_path / "s" / "segments").glob("*-t.*")
        segment.write_bytes(segment.read_bytes().replace(b"two", b"too"))
        with pytest.raises(CorruptionError) as caught:
            store.backup(tmp_path / "copy")
        assert caught.value.path == str(segment)
        assert (caught.value.first_offset, caught.value.next_offset) == (1, 2)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("was_there", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupt_leaves_nothing(tmp_path, was_there, error):
    if was_there:
        (tmp_path / "copy").mkdir()
    with msglog.Store(tmp_path / "s") as store:
        everything.define(store)
        everything.fill(store)
        calls = []
        store.backup(tmp_path / "all", progress=lambda *_: calls.append(1))
        for number in range(0, len(calls), 7):
            left = iter(range(number))

            def progress(_done, _total, left=left):
                if next(left, None) is None:
                    raise error

            with pytest.raises(error):
                store.backup(tmp_path / "copy", progress=progress)
            assert (tmp_path / "copy").exists() == was_there
            assert not was_there or list((tmp_path / "copy").iterdir()) == []
        assert not store.core.engine.table.holders
        store.backup(tmp_path / "copy")
    check_copy(tmp_path / "copy")


def test_closing_the_store_ends_a_backup(tmp_path):
    store = msglog.Store(tmp_path / "s")
    everything.define(store)
    with pytest.raises(ClosedError):
        store.backup(tmp_path / "copy", progress=lambda *_: store.close())
    assert not (tmp_path / "copy").exists()
    with pytest.raises(ClosedError):
        store.backup(tmp_path / "copy")


# Faults and crashes, on a disk that plays along


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    with small_limits():
        path = tmp_path_factory.mktemp("source") / "s"
        everything.make(path)
        return image_of(path)


def test_what_a_follower_notes_leaves_the_ids_of_new_files_to_others(tmp_path):
    with msglog.Store(tmp_path / "s", sync="none") as store:
        store.log.create_topic("t", segment_bytes=1024)
        store.log.append("t", b"x")
        reader = open_reader(cores.filesystem(), str(tmp_path / "s"))
        try:
            for _ in range(5):
                store.log.append("t", bytes(1000))
            reader.refresh()
            noted = note_store(reader, (reader.recovery.life, reader.commit_number + 1))
        finally:
            reader.close()
    assert len(noted.segments) > 5
    assert noted.checkpoint.next_file_id > max(view.header.file_id for view in noted.segments)


def open_on(filesystem, directory=DIRECTORY):
    return Engine.open(filesystem, directory, Options(), model_factories(), SystemClock(), background=False)


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)
def test_every_call_that_fails_leaves_nothing(image, fault, record_property):
    counted = FaultPlan(fault, FaultPlan.NEVER)
    tried = 0
    with small_limits():
        target = FaultyFileSystem(Disk(recording=False))
        target.plan = counted
        engine = open_on(disk(image))
        backup_to(engine, target, "/copy", None, was_there=False)
        for number in range(0, counted.seen, max(1, counted.seen // scaled(60))):
            target = FaultyFileSystem(Disk(recording=False))
            target.plan = FaultPlan(fault, number)
            try:
                backup_to(engine, target, "/copy", None, was_there=False)
            except msglog.MsglogError as error:
                refusal = error
            else:
                # Looking at the copy asks again, block by block, for what could not be read: here that succeeds.
                assert fault is Fault.EIO
                target.plan = None
                open_on(target, "/copy").close()
                continue
            assert refusal.outcome == "not_applied"
            target.plan = None
            assert [name for name in target.disk.names if name.startswith("/copy")] == []
            assert "/copy" not in target.disk.directories
            tried += 1
        engine.close()
    tell(record_property, failures=tried)


def test_a_full_disk_leaves_nothing(image):
    with small_limits():
        engine = open_on(disk(image))
        target = FaultyFileSystem(Disk(recording=False))
        target.disk.budget = 20_000
        with pytest.raises(DiskFullError) as caught:
            backup_to(engine, target, "/copy", None, was_there=False)
        assert caught.value.errno == errno.ENOSPC
        assert not any(name.startswith("/copy") for name in target.disk.names)
        target.disk.budget = None
        backup_to(engine, target, "/copy", None, was_there=False)
        engine.close()


def test_all_of_a_copy_is_synced_before_its_checkpoint(image):
    with small_limits():
        engine = open_on(disk(image))
        target = FaultyFileSystem()
        backup_to(engine, target, "/copy", None, was_there=False)
        check_synced(target.disk, "/copy", "checkpoint")
        engine.close()


@pytest.mark.parametrize("call", ["backup", "salvage"])
def test_directories_that_were_made_above_a_copy_go_with_it(tmp_path, monkeypatch, call):
    (tmp_path / "there").mkdir()
    with msglog.Store(tmp_path / "s") as store:
        store.log.create_topic("t")

    def fail(*_):
        raise OSError(errno.ENOTSUP, "not here")

    into = tmp_path / "there" / "one" / "two" / "three"
    with monkeypatch.context() as patched:
        patched.setattr(NewStore, "finish", fail)
        with msglog.Store(tmp_path / "s" if call == "backup" else tmp_path / "other") as store:
            copy = store.backup if call == "backup" else lambda path: msglog.salvage(tmp_path / "s", path)
            with pytest.raises(msglog.StoreFailedError):
                copy(into)
    assert list((tmp_path / "there").iterdir()) == []
    msglog.salvage(tmp_path / "s", into)
    check_copy(into)


def test_a_link_that_leads_nowhere_is_no_target(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "good").symlink_to(tmp_path / "empty")
    with msglog.Store(tmp_path / "s") as store:
        with pytest.raises(InvalidOptionError):
            store.backup(tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert not (tmp_path / "nowhere").exists()
        store.backup(tmp_path / "good")
        check_copy(tmp_path / "empty")


def test_progress_is_something_to_call(tmp_path):
    with msglog.Store(tmp_path / "s") as store:
        for call in (
            lambda: store.backup(tmp_path / "copy", progress="loud"),
            lambda: store.verify(progress=1),
            lambda: msglog.verify(tmp_path / "s", progress=1),
        ):
            with pytest.raises(InvalidTypeError, match="progress must be None or a callable"):
                call()
        assert not (tmp_path / "copy").exists()
