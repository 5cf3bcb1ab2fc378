"""What recovery leaves out is kept for a person to look at: nothing is deleted because it could not be read."""

from collections.abc import Mapping

import pytest

from msglog.storage import Options
from support.crash_images import crash_images
from support.disk import Disk, Image
from support.faulty_filesystem import FaultyFileSystem
from support.history import read_state
from support.recovery import recover
from support.session import Script, open_engine, small_limits
from support.telling import tell

QUARANTINE = "/store/quarantine/"


@pytest.fixture(autouse=True)
def _small():
    with small_limits():
        yield


def _quarantined(files: Mapping[str, bytes]) -> list[bytes]:
    return [contents for path, contents in files.items() if path.startswith(QUARANTINE)]


def _store_with_half_a_commit(sync) -> tuple[Script, Image]:
    """Return a store that lost one of the two frames of its last commit."""
    script = Script(sync, segment_bytes=100_000)
    script.open()
    script.commit(("create", "a"), ("create", "b"))
    script.commit(("append", "a", 20), ("append", "b", 20))
    script.flush()
    script.commit(("append", "a", 20), ("append", "b", 20))
    image = script.filesystem.kill().disk.image()
    files = {path: contents for path, contents in image.files.items() if "draft" not in path}
    damaged = next(path for path in files if "/2-b." in path and not path.endswith(".index"))
    files[damaged] = files[damaged].rstrip(b"\0v").ljust(len(files[damaged]), b"\0")
    return script, Image(image.directories, files)


@pytest.mark.parametrize("sync", ["interval", "none"])
def test_what_is_cut_is_kept_whenever_the_power_goes(sync, record_property):
    script, image = _store_with_half_a_commit(sync)
    filesystem = FaultyFileSystem(image)
    engine = open_engine(filesystem, Options(sync=sync))
    assert script.history.check(read_state(engine), script.moment) == script.history.last - 1
    report = engine.recovery
    kept = _quarantined(filesystem.disk.image().files)
    assert sorted(report.quarantined) == sorted(p for p in filesystem.disk.names if p.startswith(QUARANTINE))
    assert report.cut_bytes == sum(map(len, kept)) > 0
    tried = 0
    disk = filesystem.disk
    for crash in crash_images(disk.start, disk.operations, seed=1, each=4, chances=6):
        files = crash.build().files
        for contents in kept:
            assert any(contents in found for found in files.values()), f"{crash}: what was cut is gone"
        tried += 1
    tell(record_property, crash_images=tried)


@pytest.mark.parametrize("sync", ["interval", "none"])
def test_recovery_does_not_quarantine_twice(sync):
    _, image = _store_with_half_a_commit(sync)
    filesystem = FaultyFileSystem(image)
    open_engine(filesystem, Options(sync=sync))
    kept = _quarantined(filesystem.disk.image().files)
    for _ in range(2):
        filesystem = filesystem.kill()
        assert open_engine(filesystem, Options(sync=sync)).recovery.quarantined == ()
    assert _quarantined(filesystem.disk.image().files) == kept


@pytest.mark.parametrize("name", ["1-a.00000000000000000007.99", "notes.txt", "7-.00000000000000000000.98"])
def test_files_that_nothing_lists_are_moved_aside(name):
    script = Script("commit")
    script.open()
    script.commit(("create", "a"))
    script.append("a", 20)
    script.close()
    image = script.filesystem.disk.image()
    strange = Image(image.directories, {**image.files, f"/store/segments/{name}": b"somebody's data" * 100})
    filesystem = FaultyFileSystem(Disk(strange))
    engine = open_engine(filesystem)
    assert read_state(engine) == script.history.latest
    assert _quarantined(filesystem.disk.image().files) == [b"somebody's data" * 100]
    assert engine.recovery.quarantined == (QUARANTINE + name,)
    engine.close()
    assert recover(filesystem.kill().disk.image()) == script.history.latest
