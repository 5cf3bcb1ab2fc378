"""The overlay: it may show more files than a process has descriptors, and the tree below never changes."""

import os

from msglog.storage.filesystem import OSFileSystem, OverlayFileSystem

FILES = 200


def descriptors():
    return len(os.listdir("/dev/fd"))


def test_files_take_no_descriptors_once_they_are_closed(tmp_path):
    for number in range(FILES):
        (tmp_path / str(number)).write_bytes(b"below")
    overlay = OverlayFileSystem(OSFileSystem())
    before = descriptors()
    files = [overlay.open(str(tmp_path / str(number))) for number in range(FILES // 2)]
    for number, file in enumerate(files):
        if number % 2:
            file.write(0, b"B")
        file.close()
    for number in range(FILES // 2, FILES):
        overlay.open(str(tmp_path / str(number))).write(5, b" and more")
    assert descriptors() - before <= 1
    for number, file in enumerate(files):
        assert file.size() == 5
        assert file.read(0, 9) == (b"Below" if number % 2 else b"below")
        file.close()
    assert overlay.open(str(tmp_path / str(FILES - 1)), writable=False).read(0, 99) == b"below and more"
    assert descriptors() - before <= 1
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"below"}


def test_a_closed_file_may_be_written_by_another_handle(tmp_path):
    path = str(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"below")
    overlay = OverlayFileSystem(OSFileSystem())
    first, second = overlay.open(path), overlay.open(path)
    first.close()
    second.write(0, b"B")
    second.close()
    assert overlay.open(path, writable=False).read(0, 5) == first.read(0, 5) == b"Below"
    overlay.rename(path, path + ".new")
    assert overlay.open(path + ".new").read(0, 5) == b"Below"
    assert (tmp_path / "file").read_bytes() == b"below"
