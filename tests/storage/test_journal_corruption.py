"""Damage in the journal: what was synced is missed and told, what may never have been is cut."""

import pytest

from msglog.errors import CorruptionError
from support.crash_images import crash_images
from support.disk import Disk, Image
from support.faulty_filesystem import FaultyFileSystem
from support.history import History, read_state
from support.operations import Store
from support.recovery import recover
from support.session import Script, open_engine, small_limits

COMMITS = 6


def _killed_store() -> tuple[Script, Image, str, list[tuple[int, int]]]:
    """Return a store whose work was in its journal only when the power went; the journal, its entries."""
    script = Script("commit", segment_bytes=100_000)
    script.open()
    script.commit(("create", "a"))
    script.flush()
    before = len(script.filesystem.disk.operations)
    ends = []
    for _ in range(COMMITS):
        script.append("a", 50)
        ends.append(len(script.filesystem.disk.operations))
    operations = script.filesystem.disk.operations
    journals = {inode.number: path for path, inode in script.filesystem.disk.names.items() if "journal" in path}
    places, path = [], ""
    for start, end in zip([before, *ends], ends, strict=False):
        entry = next(op for op in operations[start:end] if getattr(op, "inode", None) in journals and len(op) == 3)
        path = journals[entry.inode]
        places.append((entry.position, entry.position + len(entry.data)))
    disk = script.filesystem.disk
    images = crash_images(disk.start, operations, seed=1, first=len(operations))
    return script, next(image for image in images if image.label == "nothing").build(), path, places


def _flipped(image: Image, path: str, position: int, mask: int = 0x10) -> Image:
    contents = bytearray(image.files[path])
    contents[position] ^= mask
    return Image(image.directories, {**image.files, path: bytes(contents)})


@pytest.fixture(autouse=True)
def _small():
    with small_limits(JOURNAL_FIRST_BYTES=1 << 14):
        yield


def test_an_intact_journal_gives_all_back():
    script, image, _, _ = _killed_store()
    assert recover(image) == script.history.latest


@pytest.mark.parametrize("victim", range(COMMITS - 1))
def test_damage_before_a_synced_entry_is_told(victim):
    _, image, path, places = _killed_store()
    start, end = places[victim]
    for position in range(start, end - 8, 5):
        damaged = _flipped(image, path, position)
        with pytest.raises(CorruptionError) as caught:
            open_engine(FaultyFileSystem(Disk(damaged)))
        assert caught.value.path == path
        assert start <= caught.value.position <= end


def test_the_last_entry_is_cut_since_it_may_never_have_been_synced():
    script, image, path, places = _killed_store()
    start, end = places[-1]
    for position in range(start, end - 8, 3):
        state = recover(_flipped(image, path, position))
        assert len(state.streams[1].entries) == COMMITS - 1
        assert state.streams[1].entries == script.history.latest.streams[1].entries[:-1]


def test_a_zeroed_entry_in_the_middle_is_told():
    _, image, path, places = _killed_store()
    start, end = places[2]
    contents = bytearray(image.files[path])
    contents[start:end] = bytes(end - start)
    with pytest.raises(CorruptionError):
        recover(Image(image.directories, {**image.files, path: bytes(contents)}))


def test_an_entry_of_another_place_is_no_entry():
    """The last entry copied over the one before: its checksum fits, its number does not."""
    _, image, path, places = _killed_store()
    contents = bytearray(image.files[path])
    start, _ = places[-2]
    last_start, last_end = places[-1]
    contents[start : start + last_end - last_start] = image.files[path][last_start:last_end]
    with pytest.raises(CorruptionError):
        recover(Image(image.directories, {**image.files, path: bytes(contents)}))


def test_recovery_from_the_journal_shows_the_same_again():
    script, image, _, _ = _killed_store()
    filesystem = FaultyFileSystem(Disk(image))
    for _ in range(3):
        engine = open_engine(filesystem)
        assert read_state(engine) == script.history.latest
        filesystem = filesystem.kill()


def test_an_entry_of_an_older_life_never_follows_one_of_a_newer():
    """Of two entries the first is lost: the next life writes its own, as large, in front of the second."""
    first = Script("commit", segment_bytes=100_000)
    first.open()
    first.commit(("create", "a"))
    first.close()
    first.open()
    before = len(first.filesystem.disk.operations)
    for _ in range(2):
        first.commit(("append", "a", 600), ("event",), wait=False)
    disk = first.filesystem.disk
    journals = [inode.number for path, inode in disk.names.items() if "journal" in path]
    lost, kept = (o for o in disk.operations[before:] if isinstance(o, Store) and o.inode in journals)
    image = first.filesystem.kill().disk.image()
    path = next(path for path, inode in disk.names.items() if inode.number == lost.inode)
    contents = bytearray(image.files[path])
    contents[lost.position : lost.position + len(lost.data)] = bytes(len(lost.data))
    found = recover(Image(image.directories, {**image.files, path: bytes(contents)}))
    assert not found.streams[1].entries

    filesystem = FaultyFileSystem(Image(image.directories, {**image.files, path: bytes(contents)}))
    second = Script("commit", filesystem=filesystem, history=History(found), tag="z")
    second.open()
    before = second.moment
    second.commit(("append", "a", 600), ("event",))
    journal = filesystem.disk.names[path]
    stored = next(o for o in filesystem.disk.operations[before:] if isinstance(o, Store) and o.inode == journal.number)
    assert (stored.position, len(stored.data)) == (lost.position, len(lost.data))
    assert journal.read(kept.position, len(kept.data)) == kept.data, "the old entry lies behind the new one"
    images = crash_images(filesystem.disk.start, filesystem.disk.operations, seed=1, first=second.moment)
    for crash in images:
        second.history.check(recover(crash.build()), crash.point, killed=crash.killed)
