"""A segment that cannot be opened or mapped now is a typed error to every reader, and costs no record."""

import errno

import pytest

import msglog
from msglog import Log
from msglog.storage.filesystem.posix import OSFile, OSFileSystem

KINDS = ("read", "consumer", "share consumer")


def values(log, kind):
    if kind == "read":
        return [record.value for record in log.read("t")]
    if kind == "consumer":
        with log.consumer("t", group="g") as consumer:
            return [record.value for record in consumer.poll(0)]
    with log.share_consumer("t", group="s") as consumer:
        return [record.value for record in consumer.poll(0)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", ["open", "map"])
def test_no_descriptors_or_memory(tmp_path, monkeypatch, kind, call):
    with Log(tmp_path / "s") as log:
        log.create_topic("t")
        log.append_many("t", [b"one", b"two"])
    with Log(tmp_path / "s") as log:
        owner = OSFileSystem if call == "open" else OSFile
        real = getattr(owner, call)

        def fail(self, *arguments, **options):
            path = arguments[0] if call == "open" else self.path
            if "-t." in path:
                raise OSError(errno.EMFILE if call == "open" else errno.ENOMEM, "too many", path)
            return real(self, *arguments, **options)

        with monkeypatch.context() as patched:
            patched.setattr(owner, call, fail)
            with pytest.raises(msglog.StoreFailedError) as caught:
                values(log, kind)
            assert caught.value.outcome == "not_applied"
            assert "-t." in caught.value.path
        assert values(log, kind) == [b"one", b"two"]
