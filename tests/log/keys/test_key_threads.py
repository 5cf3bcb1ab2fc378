"""Expectations from many threads: of those that expect the same, one wins."""

from threading import Barrier

import pytest

from msglog import Log, OffsetConflictError
from msglog.storage import Engine
from support.keyed import check_decisions, check_keys, last_offset, small_runs
from support.threads import in_threads

THREADS = 8
PATIENCE_SECONDS = 60


@pytest.fixture(params=["commit", "none"])
def log(request, tmp_path):
    with small_runs(rows=32), Log(tmp_path / "s", sync=request.param) as opened:
        opened.create_topic("t")
        yield opened


def test_in_each_round_one_wins(log):
    rounds = 25
    ready = Barrier(THREADS, timeout=PATIENCE_SECONDS)
    winners = [[] for _ in range(rounds)]
    seen = [[] for _ in range(rounds)]

    def work(number):
        last = -1
        for turn in range(rounds):
            ready.wait()
            try:
                winners[turn].append(log.append("t", b"%d" % number, key=b"a", expected_key_offset=last).offset)
            except OffsetConflictError as error:
                assert error.expected == last  # noqa: PT017 one of them wins
                seen[turn].append(error.actual)
            ready.wait()
            (last,) = winners[turn]

    in_threads(THREADS, work)
    for turn in range(rounds):
        assert len(winners[turn]) == 1
        assert seen[turn] == winners[turn] * (THREADS - 1)
    assert [record.offset for record in log.read_key("t", b"a")] == [offset for (offset,) in winners]


def test_unrelated_keys_never_conflict(log):
    def work(number):
        last = -1
        for step in range(60):
            if step % 3:
                last = log.append("t", b"", key=b"%d" % number, expected_key_offset=last).offset
            else:
                placed = log.append_many("t", [b""] * 2, key=b"%d" % number, expected_key_offset=last)
                last = placed[0].stop - 1

    in_threads(THREADS, work)
    check_keys(log, "t")
    check_decisions(log, "t")
    assert log.end_offset("t") == THREADS * 80


def test_no_withdrawal_is_lost_or_made_twice(log):
    """All threads work on two keys at once, beside others who expect nothing and go the short way at first."""

    def work(number):
        if number < 2:
            for step in range(150):
                log.append("t", b"%d" % step, key=b"plain%d" % number)
            return
        key = b"%d" % (number % 2)
        for _ in range(15):
            while True:
                records = list(log.read_key("t", key))
                last = records[-1].offset if records else -1
                total = int(records[-1].value) if records else 0
                try:
                    log.append("t", b"%d" % (total + 1), key=key, expected_key_offset=last)
                except OffsetConflictError:
                    continue
                break

    in_threads(THREADS, work)
    for key in (b"0", b"1"):
        assert [int(record.value) for record in log.read_key("t", key)] == list(range(1, 46))
    check_keys(log, "t")


def test_topics_that_go_meanwhile(log):
    """Who appends to a topic that is deleted hears of it, and its successor begins without a past."""

    def work(number):
        for step in range(20):
            if number == 0:
                log.delete_topic("t")
                log.create_topic("t")
                continue
            try:
                log.append("t", b"", key=b"%d-%d" % (number, step), expected_key_offset=-1)
                assert log.last_record("t", b"%d-%d" % (number, step)) is None or number
            except LookupError:
                continue

    in_threads(4, work)
    check_keys(log, "t")
    check_decisions(log, "t", [b"1-1"])


def test_cleaning_and_removing_meanwhile(log):
    log.create_topic("c", cleanup_policy="compact", segment_bytes=2048)

    def work(number):
        if number == 0:
            for _ in range(15):
                log.clean("c")
            return
        if number == 1:
            for _ in range(15):
                log.delete_records("c", 0, max(0, log.end_offset("c") - 30))
            return
        for step in range(80):
            key = b"%d-%d" % (number, step % 4)
            record = log.last_record("c", key)
            expected = -1 if record is None else record.offset
            try:
                log.append("c", b"x" * 50, key=key, expected_key_offset=expected)
            except OffsetConflictError as error:  # it was removed in between
                assert error.actual == -1  # noqa: PT017 only some calls conflict
                log.append("c", b"x" * 50, key=key, expected_key_offset=-1)

    in_threads(5, work)
    log.clean("c")
    check_keys(log, "c")
    check_decisions(log, "c")


def test_a_refusal_is_as_durable_as_what_it_saw(tmp_path, monkeypatch):
    waits = []
    wait = Engine.wait
    monkeypatch.setattr(Engine, "wait", lambda engine, commit: (waits.append(commit), wait(engine, commit))[1])
    with Log(tmp_path / "s") as log:
        log.create_topic("t")
        log.append("t", b"", key=b"a", expected_key_offset=-1)
        seen = log.store.core.engine.commit_number
        with log.producer("p") as producer:
            seen = log.store.core.engine.commit_number
            for append in (log.append, producer.append):
                waits.clear()
                with pytest.raises(OffsetConflictError):
                    append("t", b"", key=b"a", expected_key_offset=5)
                assert waits == [seen]


@pytest.mark.parametrize("sync", ["commit", "none"])
def test_what_went_the_short_way_meanwhile_is_read(tmp_path, sync):
    """An append that was on its way when the first expectation came notes nothing; those behind it do."""
    with Log(tmp_path / "s", sync=sync) as log:
        log.create_topic("t")
        topic, engine = log._model.topic("t"), log.store.core.engine
        assert last_offset(log, "t", b"a") == -1
        for number in range(3):
            engine.append(topic.partitions[0], b"", 0, b"a")
            log.append("t", b"", key=b"b%d" % number)
            log.append_many("t", [b""] * 2, keys=[b"a", b"c"])
        index = topic.indexes.find(topic.partitions[0])
        assert (index.end, index._ahead) == (0, [(first, first + size) for n in range(3) for first, size in
                                                 ((4 * n + 1, 1), (4 * n + 2, 2))])  # fmt: skip
        check_decisions(log, "t", [b"d"])
        check_keys(log, "t", [b"d"])
        assert (index.end, index._ahead) == (12, [])


def test_what_is_assigned_and_not_visible_yet_counts(tmp_path):
    """A commit that waits for its sync decides like any other."""
    with Log(tmp_path / "s") as log:
        log.create_topic("t")
        engine, topic = log.store.core.engine, log._model.topic("t")
        stream = topic.partitions[0]
        assert last_offset(log, "t", b"a") == -1
        engine.writer._append_one(stream, b"", 0, b"a", waited_for=False)
        assert stream.end < stream.next_offset
        assert last_offset(log, "t", b"a") == 0
        assert stream.end == stream.next_offset
        check_keys(log, "t")
