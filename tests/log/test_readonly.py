"""A log that only reads."""

import pytest

from msglog import Log, ReadOnlyError


@pytest.fixture
def reader(tmp_path):
    with Log(tmp_path / "s", sync="none") as log:
        log.create_topic("t", retention_ms=1)
        log.append_many("t", [b"a", b"b"], key=b"k")
        log.producer("p").close()
    with Log(tmp_path / "s", readonly=True) as opened:
        yield opened


def test_reads_work(reader):
    assert reader.topics() == ["t"]
    assert [record.value for record in reader.read("t")] == [b"a", b"b"]
    assert (reader.start_offset("t"), reader.end_offset("t")) == (0, 2)
    assert reader.offset_at("t", 0) == 0
    assert reader.partition_for("t", b"k") == 0
    assert reader.describe_topic("t").partitions[0].end_offset == 2


@pytest.mark.parametrize(
    "write",
    [
        lambda log: log.append("t", b"x"),
        lambda log: log.append("t", b"x", key=b"k"),
        lambda log: log.append("t", b"x", headers={"h": b""}),
        lambda log: log.append_many("t", [b"x"]),
        lambda log: log.create_topic("u"),
        lambda log: log.create_topic("t", exist_ok=True),
        lambda log: log.delete_topic("t"),
        lambda log: log.add_partitions("t", 2),
        lambda log: log.alter_topic("t", retention_ms=None),
        lambda log: log.delete_records("t", 0, -1),
        lambda log: log.clean(),
        lambda log: log.producer("p"),
    ],
)
def test_writes_are_refused(reader, write):
    with pytest.raises(ReadOnlyError) as caught:
        write(reader)
    assert caught.value.path == reader.store.path
    assert [record.value for record in reader.read("t")] == [b"a", b"b"]


def test_nothing_is_scheduled(reader):
    assert reader._core.timers.next_due_ms() is None
