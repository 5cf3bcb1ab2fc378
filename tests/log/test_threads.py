"""Many threads on one log, and what a refusal waits for."""

import pytest

from msglog import FencedError, Log, OffsetConflictError
from msglog.storage import Engine
from support.threads import in_threads


@pytest.mark.parametrize("sync", ["commit", "none"])
def test_every_append_gets_its_own_offset(tmp_path, sync):
    with Log(tmp_path / "s", sync=sync) as log:
        log.create_topic("t")
        log.create_topic("m", partitions=3)

        def work(number):
            for step in range(50):
                log.append("t", b"%d-%d" % (number, step))
                log.append_many("m", [b"%d" % number] * 3, keys=[b"a", b"b", b"c"])

        in_threads(4, work)
        values = [record.value for record in log.read("t")]
        assert len(set(values)) == 200
        for number in range(4):
            mine = [value for value in values if value.startswith(b"%d-" % number)]
            assert mine == [b"%d-%d" % (number, step) for step in range(50)]
        assert sum(log.end_offset("m", partition) for partition in range(3)) == 600


def test_an_expected_offset_is_won_by_one(tmp_path):
    with Log(tmp_path / "s", sync="none") as log:
        log.create_topic("t")
        won = []

        def work(number):
            wins = 0
            while wins < 25:
                end = log.end_offset("t")
                try:
                    log.append("t", b"%d" % number, expected_offset=end)
                except OffsetConflictError:
                    continue
                wins += 1
                won.append(end)

        in_threads(4, work)
        assert sorted(won) == list(range(100))


def test_a_topic_is_made_once(tmp_path):
    with Log(tmp_path / "s", sync="none") as log:
        in_threads(4, lambda _: [log.create_topic(f"t{number}", exist_ok=True) for number in range(20)])
        assert len(log.topics()) == 20
        assert len({log.describe_topic(name).topic_id for name in log.topics()}) == 20


def test_cleaning_beside_appending(tmp_path):
    with Log(tmp_path / "s", sync="none", segment_bytes=4096) as log:
        log.create_topic("t", cleanup_policy="compact")

        def work(number):
            for step in range(100):
                if number == 0 and step % 5 == 0:
                    log.clean()
                log.append("t", b"%d" % step, key=b"%d" % number)

        in_threads(3, work)
        log.clean()
        assert {record.key: record.value for record in log.read("t")} == {b"%d" % n: b"99" for n in range(3)}
        assert log.end_offset("t") == 300


@pytest.fixture
def waits(monkeypatch):
    """The commits that were waited for."""
    found = []
    wait = Engine.wait
    monkeypatch.setattr(Engine, "wait", lambda engine, commit: (found.append(commit), wait(engine, commit))[1])
    return found


def test_a_refusal_is_as_durable_as_what_it_saw(tmp_path, waits):
    with Log(tmp_path / "s") as log:
        log.create_topic("t")
        producer = log.producer("p")
        producer.append("t", b"x", sequence=0)
        seen = log.store.core.engine.commit_number
        for refused in (
            lambda: log.append("t", b"x", expected_offset=0),
            lambda: producer.append("t", b"x", sequence=0),
            lambda: producer.append("t", b"x", sequence=5),
            lambda: log.create_topic("t"),
        ):
            waits.clear()
            try:
                refused()
            except (ValueError, RuntimeError):
                pass
            assert waits == [seen]


def test_a_fencing_is_durable_before_it_returns(tmp_path):
    for sync in ("commit", "interval", "none"):
        with Log(tmp_path / sync, sync=sync) as log:
            log.create_topic("t")
            first = log.producer("p")
            second = log.producer("p")
            engine = log.store.core.engine
            durable = engine.published if sync == "commit" else engine.durable_commit
            assert durable == engine.commit_number
            with pytest.raises(FencedError):
                first.append("t", b"x")
            first.close()
            second.close()
