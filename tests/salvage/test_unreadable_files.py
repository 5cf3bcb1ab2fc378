"""Salvage where the disk refuses to read: any file, whole or one block of it, costs what is in it and nothing else."""

import errno

import pytest

import msglog
from msglog.storage.filesystem.posix import OSFile
from msglog.storage.layout import CHECKPOINTS, JOURNALS
from support import everything
from support.session import small_limits
from support.telling import tell


@pytest.fixture
def bad(monkeypatch):
    """Paths, each with the bytes that the disk does not read."""
    places: dict[str, range] = {}
    read = OSFile.read

    def fail(file, position, size):
        found = places.get(file.path, range(0))
        if position < found.stop and position + size > found.start:
            raise OSError(errno.EIO, "Input/output error", file.path)
        return read(file, position, size)

    monkeypatch.setattr(OSFile, "read", fail)
    return places


@pytest.mark.parametrize("sync", ["commit", "interval"])
def test_any_file_may_be_unreadable(tmp_path, bad, sync, record_property):
    with small_limits():
        everything.make(tmp_path / "s", sync=sync)
        files = [path for path in sorted((tmp_path / "s").rglob("*")) if path.is_file() and path.name != "LOCK"]
        beside = [path for path in files if path.parent.name != "segments"]
        paths = beside + [path for path in files if path.name.startswith(("0-", "1-", "5-"))]
        for number, path in enumerate(paths):
            bad.clear()
            bad[str(path)] = range(1 << 40)
            problems = list(msglog.verify(tmp_path / "s"))
            assert (
                problems
                or not path.name.startswith((*CHECKPOINTS, "state-", "0-", "1-", "5-"))
                or ".index" in path.name
            )
            report = msglog.salvage(tmp_path / "s", tmp_path / f"saved-{number}")
            with msglog.Store(tmp_path / f"saved-{number}") as saved:
                assert list(saved.verify()) == []
                if path.parent.name != "segments" and not report.lost_definitions:
                    assert [record.offset for record in saved.log.read("plain", 1)] == list(
                        range(saved.log.end_offset("plain", 1))
                    )
    assert {path.name for path in paths} & {*CHECKPOINTS, *JOURNALS}
    tell(record_property, unreadable_files=len(paths))


def test_a_bad_block_of_the_journal_costs_the_entries_in_it(tmp_path, bad):
    with msglog.Store(tmp_path / "s") as store:
        store.log.create_topic("t")
        store.core.engine.checkpoint()
        with store.core.engine.checkpoints:
            for number in range(100):
                store.log.append("t", b"value-%d" % number * 9)
            files = {path.relative_to(tmp_path / "s"): path.read_bytes() for path in (tmp_path / "s").rglob("*.*[0-9]")}
            files |= {path.relative_to(tmp_path / "s"): path.read_bytes() for path in (tmp_path / "s").glob("*-*")}
    for name, contents in files.items():
        path = tmp_path / "left" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[:64].ljust(len(contents), b"\0") if "-t." in path.name else contents)
    for name in JOURNALS:
        bad[str(tmp_path / "left" / name)] = range(8192, 8193)
    report = msglog.salvage(tmp_path / "left", tmp_path / "saved")
    (gap,) = report.gaps
    with msglog.Store(tmp_path / "saved") as saved:
        offsets = [record.offset for record in saved.log.read("t")]
    assert offsets == [*range(gap.first_offset), *range(gap.next_offset, 100)]
    assert 0 < gap.first_offset < gap.next_offset < 100
