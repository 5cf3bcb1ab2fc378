"""The rules of the file system seam, against every implementation: the same table of tests for all."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from msglog.errors import DiskFullError, StoreLockedError
from msglog.storage.filesystem import FileSystem, MemoryFileSystem, OSFileSystem, OverlayFileSystem
from support.disk import Disk, Image
from support.faults import Fault, FaultPlan
from support.faulty_filesystem import FaultyFileSystem

Place = tuple[FileSystem, str]


@pytest.fixture(params=["os", "memory", "faulty", "overlay"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A file system and a directory in it that does not exist yet."""
    match request.param:
        case "os":
            yield OSFileSystem(), str(tmp_path / "deep" / "store")
        case "memory":
            yield MemoryFileSystem(), "/deep/store"
        case "overlay":
            yield OverlayFileSystem(OSFileSystem()), str(tmp_path / "deep" / "store")
        case "faulty":
            filesystem = FaultyFileSystem(Disk(Image(frozenset({"/"}))))
            yield filesystem, "/deep/store"
            filesystem.disk.check_maps()


@pytest.fixture
def made(place: Place) -> Place:
    """The same with the directory made."""
    place[0].make_directory(place[1])
    return place


def test_making_a_directory_twice_is_fine(place: Place) -> None:
    filesystem, directory = place
    filesystem.make_directory(directory)
    filesystem.make_directory(directory)
    assert filesystem.list(directory) == {}


def test_a_missing_directory_lists_as_empty(place: Place) -> None:
    filesystem, directory = place
    assert filesystem.list(directory + "/nowhere") == {}


def test_opening_a_missing_file(made: Place) -> None:
    filesystem, directory = made
    with pytest.raises(FileNotFoundError):
        filesystem.open(directory + "/a")


def test_creating_lists_an_empty_file(made: Place) -> None:
    filesystem, directory = made
    file = filesystem.open(directory + "/a", create=True)
    assert file.path == directory + "/a"
    assert file.size() == 0
    assert filesystem.list(directory) == {"a": 0}


def test_create_keeps_a_file_that_exists(made: Place) -> None:
    filesystem, directory = made
    filesystem.open(directory + "/a", create=True).write(0, b"kept")
    assert filesystem.open(directory + "/a", create=True).read(0, 10) == b"kept"


def test_list_shows_only_files_directly_below(made: Place) -> None:
    filesystem, directory = made
    filesystem.make_directory(directory + "/below")
    filesystem.open(directory + "/a", create=True)
    filesystem.open(directory + "/below/b", create=True)
    assert set(filesystem.list(directory)) == {"a"}
    assert set(filesystem.list(directory + "/below")) == {"b"}


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_writes_are_read_back(made: Place, kind: type) -> None:
    filesystem, directory = made
    file = filesystem.open(directory + "/a", create=True)
    file.write(0, kind(b"hello"))
    file.write(5, kind(b" world"))
    file.write(0, kind(b"J"))
    assert file.size() == 11
    assert file.read(0, 11) == b"Jello world"
    assert file.read(6, 3) == b"wor"
    assert file.read(6, 100) == b"world"
    assert file.read(11, 5) == b""
    assert file.read(50, 5) == b""
    assert isinstance(file.read(0, 1), bytes)


def test_a_write_beyond_the_end_leaves_zeros_between(made: Place) -> None:
    filesystem, directory = made
    file = filesystem.open(directory + "/a", create=True)
    file.write(4, b"x")
    assert file.read(0, 9) == b"\0\0\0\0x"


def test_allocation_adds_zeros_and_never_shrinks(made: Place) -> None:
    filesystem, directory = made
    file = filesystem.open(directory + "/a", create=True)
    file.write(0, b"abc")
    file.allocate(8192)
    file.allocate(100)
    assert file.size() == 8192
    assert file.read(0, 8192) == b"abc" + bytes(8189)
    assert filesystem.list(directory) == {"a": 8192}


def test_a_map_shows_the_file_and_stores_reach_it(made: Place) -> None:
    filesystem, directory = made
    file = filesystem.open(directory + "/a", create=True)
    file.allocate(4096)
    file.write(10, b"before")
    mapped = file.map(4096)
    assert len(mapped) == 4096
    assert mapped[10:16] == b"before"
    mapped[100:105] = b"store"
    assert file.read(100, 5) == b"store"
    assert filesystem.open(directory + "/a", writable=False).read(100, 5) == b"store"
    file.write(102, b"O")
    assert mapped[100:105] == b"stOre"


def test_a_store_of_another_length_is_refused_by_maps_of_a_durable_system(made: Place) -> None:
    filesystem, directory = made
    if not filesystem.durable:
        pytest.skip("maps in memory are plain bytearrays")
    file = filesystem.open(directory + "/a", create=True)
    file.allocate(4096)
    mapped = file.map(4096)
    with pytest.raises(IndexError):
        mapped[0:4] = b"12345"
    with pytest.raises(ValueError, match=r"map|mmap"):
        file.map(8192)
    assert file.read(0, 8) == bytes(8)


def test_a_map_stays_readable_after_growth(made: Place) -> None:
    filesystem, directory = made
    file = filesystem.open(directory + "/a", create=True)
    file.allocate(4096)
    old = file.map(4096)
    old[0:3] = b"one"
    file.allocate(16384)
    new = file.map(16384)
    assert old[0:3] == new[0:3] == b"one"
    assert len(old) == 4096
    new[8192:8195] = b"two"
    assert file.read(8192, 3) == b"two"
    assert old[0:3] == b"one"


def test_two_maps_of_one_size_are_one(made: Place) -> None:
    filesystem, directory = made
    file = filesystem.open(directory + "/a", create=True)
    file.allocate(4096)
    first = file.map(4096)
    second = filesystem.open(directory + "/a").map(4096)
    first[5:6] = b"x"
    assert second[5:6] == b"x"
    second[5:6] = b"y"
    assert first[5:6] == b"y"


def test_maps_stay_coherent_across_growth_of_a_durable_system(made: Place) -> None:
    filesystem, directory = made
    if not filesystem.durable:
        pytest.skip("growth in memory makes a copy: old maps stay readable, no more is promised")
    file = filesystem.open(directory + "/a", create=True)
    file.allocate(4096)
    old = file.map(4096)
    file.allocate(8192)
    new = file.map(8192)
    old[4094:4096] = b"ab"
    assert new[4094:4096] == b"ab"
    new[4095:4097] = b"cd"
    assert old[4095:4096] == b"c"
    file.write(0, b"w")
    assert old[0:1] == new[0:1] == b"w"


def test_a_map_outlives_its_file_and_its_name(made: Place) -> None:
    filesystem, directory = made
    file = filesystem.open(directory + "/a", create=True)
    file.allocate(4096)
    mapped = file.map(4096)
    mapped[0:4] = b"kept"
    file.close()
    filesystem.unlink(directory + "/a")
    del file
    gc.collect()
    assert mapped[0:4] == b"kept"
    assert filesystem.list(directory) == {}


def test_a_map_of_a_read_only_file_refuses_stores(made: Place) -> None:
    filesystem, directory = made
    if not filesystem.durable:
        pytest.skip("memory has no readers of other processes")
    filesystem.open(directory + "/a", create=True).allocate(4096)
    file = filesystem.open(directory + "/a", writable=False)
    mapped = file.map(4096)
    with pytest.raises(TypeError):
        mapped[0:1] = b"x"
    with pytest.raises(OSError, match=r"\[Errno 9\]"):
        file.write(0, b"x")
    assert file.read(0, 1) == b"\0"


def test_renaming_replaces_the_destination(made: Place) -> None:
    filesystem, directory = made
    filesystem.open(directory + "/a", create=True).write(0, b"new")
    filesystem.open(directory + "/b", create=True).write(0, b"older")
    filesystem.rename(directory + "/a", directory + "/b")
    assert filesystem.list(directory) == {"b": 3}
    assert filesystem.open(directory + "/b").read(0, 9) == b"new"


def test_renaming_into_another_directory(made: Place) -> None:
    filesystem, directory = made
    filesystem.make_directory(directory + "/below")
    file = filesystem.open(directory + "/a", create=True)
    filesystem.rename(directory + "/a", directory + "/below/b")
    file.write(0, b"same file")
    assert filesystem.list(directory) == {}
    assert filesystem.open(directory + "/below/b").read(0, 9) == b"same file"


def test_unlinking_twice_is_fine(made: Place) -> None:
    filesystem, directory = made
    filesystem.open(directory + "/a", create=True)
    filesystem.unlink(directory + "/a")
    filesystem.unlink(directory + "/a")
    assert filesystem.list(directory) == {}


def test_a_new_file_under_an_old_name_is_empty(made: Place) -> None:
    filesystem, directory = made
    old = filesystem.open(directory + "/a", create=True)
    old.write(0, b"old")
    before = filesystem.identity(directory + "/a")
    filesystem.unlink(directory + "/a")
    new = filesystem.open(directory + "/a", create=True)
    assert new.read(0, 9) == b""
    assert filesystem.identity(directory + "/a") != before
    assert old.read(0, 3) == b"old"


def test_syncs_return(made: Place) -> None:
    filesystem, directory = made
    file = filesystem.open(directory + "/a", create=True)
    file.allocate(4096)
    file.map(4096)[0:1] = b"x"
    for size in (0, 1, 4096, 1 << 20):
        file.begin_sync(4096 - min(size, 100), size)
    file.sync()
    assert file.read(0, 4096) == b"x" + bytes(4095)
    filesystem.sync_directory(directory)


def test_identity_is_of_the_file_not_of_its_name(made: Place) -> None:
    filesystem, directory = made
    filesystem.open(directory + "/a", create=True)
    filesystem.open(directory + "/b", create=True)
    identity = filesystem.identity(directory + "/a")
    assert identity != filesystem.identity(directory + "/b")
    filesystem.rename(directory + "/a", directory + "/c")
    assert filesystem.identity(directory + "/c") == identity


def test_closing_a_file_twice_is_fine(made: Place) -> None:
    filesystem, directory = made
    file = filesystem.open(directory + "/a", create=True)
    file.close()
    file.close()


def test_a_lock_is_held_until_released(made: Place) -> None:
    filesystem, directory = made
    path = directory + "/LOCK"
    assert not filesystem.is_locked(path)
    lock = filesystem.lock(path)
    if filesystem.durable:
        assert filesystem.is_locked(path)
        with pytest.raises(StoreLockedError) as caught:
            filesystem.lock(path)
        assert caught.value.owner_pid == os.getpid()
        assert caught.value.path == directory
    lock.release()
    lock.release()
    assert not filesystem.is_locked(path)
    filesystem.lock(path).release()
    assert "LOCK" in filesystem.list(directory)


def test_directories_and_files_are_for_the_owner_only(tmp_path: Path) -> None:
    filesystem = OSFileSystem()
    mask = os.umask(0)
    try:
        filesystem.make_directory(str(tmp_path / "a" / "b"))
        filesystem.open(str(tmp_path / "a" / "b" / "c"), create=True)
    finally:
        os.umask(mask)
    assert os.stat(tmp_path / "a").st_mode & 0o777 == 0o700
    assert os.stat(tmp_path / "a" / "b").st_mode & 0o777 == 0o700
    assert os.stat(tmp_path / "a" / "b" / "c").st_mode & 0o777 == 0o600


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    filesystem = OSFileSystem()
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    file = filesystem.open(str(tmp_path / "a"), create=True)
    file.allocate(4096)
    mapped = file.map(4096)
    lock = filesystem.lock(str(tmp_path / "LOCK"))
    filesystem.is_locked(str(tmp_path / "LOCK"))
    filesystem.sync_directory(str(tmp_path))
    del file, mapped
    lock.release()
    gc.collect()
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


# What only the failing implementation can do


def _faulty() -> FaultyFileSystem:
    return FaultyFileSystem()


def test_a_full_disk_refuses_growth_and_keeps_the_size() -> None:
    filesystem = _faulty()
    filesystem.disk.budget = 10_000
    file = filesystem.open("/store/a", create=True)
    file.allocate(8192)
    with pytest.raises(DiskFullError) as caught:
        file.allocate(16384)
    assert (caught.value.path, caught.value.requested) == ("/store/a", 8192)
    assert file.size() == 8192
    other = filesystem.open("/store/b", create=True)
    with pytest.raises(DiskFullError):
        other.write(0, b"x" * 4096)
    assert other.size() == 10_000 - 8192
    filesystem.unlink("/store/b")
    file.allocate(10_000)


@pytest.mark.parametrize("forever", [False, True])
def test_a_planned_fault_hits_the_call_it_names(forever: bool) -> None:
    filesystem = _faulty()
    filesystem.plan = FaultPlan(Fault.EIO, 2, forever=forever)
    file = filesystem.open("/store/a", create=True)
    file.write(0, b"one")
    with pytest.raises(OSError, match=r"\[Errno 5\]"):
        file.write(0, b"two")
    if forever:
        with pytest.raises(OSError, match=r"\[Errno 5\]"):
            file.read(0, 3)
    else:
        assert file.read(0, 3) == b"one"
    assert filesystem.plan.fired == 1 + forever


def test_a_short_write_leaves_a_part() -> None:
    filesystem = _faulty()
    file = filesystem.open("/store/a", create=True)
    filesystem.plan = FaultPlan(Fault.SHORT_WRITE, 0)
    with pytest.raises(DiskFullError):
        file.write(0, b"abcdef")
    assert file.read(0, 9) == b"abc"


@pytest.mark.parametrize("fault", [Fault.ENOSPC, Fault.EDQUOT])
def test_full_disks_have_the_type_the_operating_system_gives_them(fault: Fault) -> None:
    filesystem = _faulty()
    filesystem.plan = FaultPlan(fault, 0, forever=True)
    with pytest.raises(DiskFullError):
        filesystem.open("/store/a", create=True)
    with pytest.raises(OSError, match="Errno") as caught:
        filesystem.make_directory("/store/b")
    assert caught.value.errno == fault.value


def test_the_handles_of_a_killed_process_are_dead_and_its_lock_is_free() -> None:
    filesystem = _faulty()
    filesystem.lock("/store/LOCK")
    file = filesystem.open("/store/a", create=True)
    file.allocate(4096)
    mapped = file.map(4096)
    mapped[0:4] = b"kept"
    after = filesystem.kill()
    with pytest.raises(OSError, match="killed"):
        file.size()
    with pytest.raises(OSError, match="killed"):
        mapped[0:4] = b"lost"
    assert after.open("/store/a").read(0, 4) == b"kept"
    after.lock("/store/LOCK")


def test_a_change_behind_the_recording_is_found() -> None:
    filesystem = _faulty()
    file = filesystem.open("/store/a", create=True)
    file.allocate(8192)
    mapped = file.map(8192)
    memoryview(mapped)[0:1] = b"x"
    with pytest.raises(AssertionError):
        filesystem.disk.check_maps()


def test_a_change_of_a_small_map_is_noticed() -> None:
    filesystem = _faulty()
    file = filesystem.open("/store/a", create=True)
    file.allocate(4096)
    words = memoryview(file.map(4096)).cast("Q")
    words[3] = 7
    filesystem.sync_directory("/store")
    assert file.read(24, 8) == (7).to_bytes(8, "little")
    after = filesystem.kill()
    words[3] = 9
    assert after.open("/store/a").read(24, 8) == (7).to_bytes(8, "little")
