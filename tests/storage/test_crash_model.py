"""The model of a crash itself: what the images of small recordings may hold, and what they must."""

from collections.abc import Callable

import pytest

from support.crash_images import crash_images, torn_kills
from support.disk import Disk, Image
from support.faults import Fault, FaultPlan
from support.faulty_filesystem import FaultyFileSystem

Contents = bytes | None


def _all_images(filesystem: FaultyFileSystem, *, last_point_only: bool = True) -> list[Image]:
    disk = filesystem.disk
    first = len(disk.operations) if last_point_only else 0
    images = crash_images(disk.start, disk.operations, seed=1, first=first, each=20, chances=200)
    return [image.build() for image in images]


def _found(images: list[Image], path: str) -> set[Contents]:
    return {image.files.get(path) for image in images}


@pytest.fixture
def filesystem() -> FaultyFileSystem:
    return FaultyFileSystem(Image(files={"/store/old": b"o" * 8192}))


def test_what_was_durable_at_first_stays(filesystem: FaultyFileSystem) -> None:
    filesystem.open("/store/new", create=True).write(0, b"x" * 600)
    assert _found(_all_images(filesystem), "/store/old") == {b"o" * 8192}


def test_without_a_sync_each_block_may_be_lost(filesystem: FaultyFileSystem) -> None:
    filesystem.open("/store/old").write(510, b"x" * 4)
    new = [b"o" * 510 + a + b + b"o" * 7678 for a in (b"oo", b"xx") for b in (b"oo", b"xx")]
    found = _found(_all_images(filesystem), "/store/old")
    assert found >= set(new)
    assert {contents[:510] for contents in found if contents} == {b"o" * 510}


def test_a_sync_keeps_all_that_was_stored_before(filesystem: FaultyFileSystem) -> None:
    file = filesystem.open("/store/old")
    file.map(8192)[100:104] = b"kept"
    file.sync()
    file.write(200, b"open")
    found = _found(_all_images(filesystem), "/store/old")
    assert {contents[100:104] for contents in found if contents} == {b"kept"}
    assert {contents[200:204] for contents in found if contents} >= {b"open", b"oooo"}


def test_a_block_may_hold_what_was_stored_in_between(filesystem: FaultyFileSystem) -> None:
    file = filesystem.open("/store/old")
    for step in b"abc":
        file.write(0, bytes([step]))
    found = _found(_all_images(filesystem), "/store/old")
    assert {contents[:1] for contents in found if contents} == {b"o", b"a", b"b", b"c"}


def test_growth_may_be_lost_or_come_without_its_contents(filesystem: FaultyFileSystem) -> None:
    file = filesystem.open("/store/old")
    file.allocate(12288)
    file.write(8192, b"x" * 512)
    found = _found(_all_images(filesystem), "/store/old")
    grown = b"o" * 8192 + bytes(4096)
    assert found >= {b"o" * 8192, grown, b"o" * 8192 + b"x" * 512 + bytes(3584)}
    file.sync()
    assert _found(_all_images(filesystem), "/store/old") == {b"o" * 8192 + b"x" * 512 + bytes(3584)}


def test_a_new_file_needs_its_directory_synced(filesystem: FaultyFileSystem) -> None:
    file = filesystem.open("/store/new", create=True)
    file.write(0, b"contents")
    file.sync()
    assert _found(_all_images(filesystem), "/store/new") == {None, b"contents"}
    filesystem.sync_directory("/store")
    assert _found(_all_images(filesystem), "/store/new") == {b"contents"}


def test_a_new_directory_needs_its_parent_synced(filesystem: FaultyFileSystem) -> None:
    filesystem.disk.make_directory("/store/below")
    file = filesystem.open("/store/below/new", create=True)
    file.write(0, b"x")
    file.sync()
    filesystem.sync_directory("/store/below")
    assert _found(_all_images(filesystem), "/store/below/new") == {None, b"x"}
    filesystem.sync_directory("/store")
    assert _found(_all_images(filesystem), "/store/below/new") == {b"x"}


def test_the_seam_makes_directories_durable(filesystem: FaultyFileSystem) -> None:
    filesystem.make_directory("/store/deep/down")
    assert {"/store/deep", "/store/deep/down"} <= set.intersection(*_directories(filesystem))


def _directories(filesystem: FaultyFileSystem) -> list[set[str]]:
    return [set(image.directories) for image in _all_images(filesystem)]


def test_a_rename_is_atomic_but_not_durable(filesystem: FaultyFileSystem) -> None:
    file = filesystem.open("/store/temporary", create=True)
    file.write(0, b"new")
    file.sync()
    filesystem.sync_directory("/store")
    filesystem.rename("/store/temporary", "/store/old")
    pairs = {(image.files.get("/store/temporary"), image.files["/store/old"]) for image in _all_images(filesystem)}
    assert pairs == {(b"new", b"o" * 8192), (None, b"new")}
    filesystem.sync_directory("/store")
    assert _found(_all_images(filesystem), "/store/old") == {b"new"}


def test_a_renamed_file_that_was_not_synced_may_be_empty(filesystem: FaultyFileSystem) -> None:
    filesystem.open("/store/temporary", create=True).write(0, b"new")
    filesystem.rename("/store/temporary", "/store/old")
    filesystem.sync_directory("/store")
    assert b"" in _found(_all_images(filesystem), "/store/old")


def test_a_rename_between_directories_never_loses_the_file(filesystem: FaultyFileSystem) -> None:
    filesystem.make_directory("/store/below")
    filesystem.sync_directory("/store")
    filesystem.rename("/store/old", "/store/below/old")
    for _ in range(2):
        for image in _all_images(filesystem):
            assert ("/store/old" in image.files) != ("/store/below/old" in image.files)
        filesystem.sync_directory("/store")
    assert _found(_all_images(filesystem), "/store/old") == {None}


def test_an_unlinked_file_comes_back_until_the_directory_is_synced(filesystem: FaultyFileSystem) -> None:
    filesystem.unlink("/store/old")
    assert _found(_all_images(filesystem), "/store/old") == {None, b"o" * 8192}
    filesystem.sync_directory("/store")
    assert _found(_all_images(filesystem), "/store/old") == {None}


def test_names_change_independently_of_each_other(filesystem: FaultyFileSystem) -> None:
    filesystem.open("/store/a", create=True)
    filesystem.open("/store/b", create=True)
    pairs = {("/store/a" in image.files, "/store/b" in image.files) for image in _all_images(filesystem)}
    assert pairs == {(False, False), (False, True), (True, False), (True, True)}


def test_after_a_failed_sync_a_good_one_promises_nothing_for_the_same_pages(filesystem: FaultyFileSystem) -> None:
    file = filesystem.open("/store/old")
    file.write(0, b"lost")
    filesystem.plan = FaultPlan(Fault.EIO, 0, calls=frozenset({"sync"}))
    with pytest.raises(OSError, match="Errno 5"):
        file.sync()
    assert file.read(0, 4) == b"lost"
    file.write(4096, b"kept")
    file.sync()
    found = _found(_all_images(filesystem), "/store/old")
    assert {contents[:4] for contents in found if contents} >= {b"lost", b"oooo"}
    assert {contents[4096:4100] for contents in found if contents} == {b"kept"}
    file.write(0, b"L")
    file.sync()
    assert {contents[:4] for contents in _found(_all_images(filesystem), "/store/old") if contents} == {b"Lost"}


def test_the_image_of_a_kill_is_what_the_process_saw(filesystem: FaultyFileSystem) -> None:
    file = filesystem.open("/store/new", create=True)
    file.write(0, b"abc")
    filesystem.rename("/store/old", "/store/older")
    disk = filesystem.disk
    images = list(crash_images(disk.start, disk.operations, seed=1, first=len(disk.operations)))
    assert [image.killed for image in images].count(True) == 1
    killed = next(image for image in images if image.killed).build()
    assert killed.files == disk.image().files


def test_a_kill_tears_stores(filesystem: FaultyFileSystem) -> None:
    filesystem.open("/store/old").write(0, b"xyz")
    found = {
        image.files["/store/old"][:3]
        for _, image in torn_kills(filesystem.disk.start, filesystem.disk.operations, seed=1)
    }
    assert found == {b"xoo", b"xyo"}


@pytest.mark.parametrize("write", [lambda f: f.write(0, b"y"), lambda f: f.allocate(9000)])
def test_equal_keys_are_equal_trees(filesystem: FaultyFileSystem, write: Callable[..., None]) -> None:
    file = filesystem.open("/store/new", create=True)
    file.write(0, b"x" * 8192)
    file.sync()
    write(file)
    disk = filesystem.disk
    trees: dict[object, Image] = {}
    for image in crash_images(disk.start, disk.operations, seed=3, chances=30):
        tree = image.build()
        known = trees.setdefault(image.key, tree)
        assert known == tree
    assert len(trees) > 3


def test_images_replay_from_their_seed() -> None:
    filesystem = FaultyFileSystem(Disk())
    filesystem.open("/store/a", create=True).write(0, bytes(range(256)) * 64)
    disk = filesystem.disk
    first, second = ([image.key for image in crash_images(disk.start, disk.operations, seed=9)] for _ in range(2))
    assert first == second
