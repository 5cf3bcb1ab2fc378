"""Many threads: members of one group, and one consumer used by several."""

import threading
from collections import Counter

import pytest

from msglog import Log
from support.shares import lag

RECORDS = 2000
THREADS = 4


def in_threads(work):
    failures = []

    def run(number):
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 shown below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.fixture(params=["memory", "none", "commit"])
def any_log(request, tmp_path):
    options = {} if request.param == "memory" else {"sync": request.param}
    with Log(":memory:" if request.param == "memory" else tmp_path / "s", **options) as log:
        log.create_topic("t", partitions=2)
        yield log


def produce(log):
    for first in range(0, RECORDS, 50):
        log.append_many("t", [b"%d" % number for number in range(first, first + 50)], partition=first // 50 % 2)


def test_members_share_the_work_while_it_comes(any_log):
    done = [[] for _ in range(THREADS)]
    producer = threading.Thread(target=produce, args=(any_log,))

    def work(number):
        with any_log.share_consumer("t", group="g") as worker:
            while records := worker.poll(1.0, max_records=7):
                for record in records:
                    if record.delivery_count == 1 and record.offset % 11 == number:
                        record.release()
                    else:
                        record.ack()
                        done[number].append(record.value)

    producer.start()
    in_threads(work)
    producer.join()
    assert Counter(value for values in done for value in values) == Counter(b"%d" % n for n in range(RECORDS))
    assert lag(any_log) == 0


def test_one_consumer_in_many_threads(any_log):
    produce(any_log)
    done = [[] for _ in range(THREADS)]
    with any_log.share_consumer("t", group="g") as worker:

        def work(number):
            for record in worker.iter(0):
                record.ack()
                done[number].append(record.value)

        in_threads(work)
    assert Counter(value for values in done for value in values) == Counter(b"%d" % n for n in range(RECORDS))
    assert lag(any_log) == 0


def test_members_that_come_and_go(any_log):
    produce(any_log)
    done = [[] for _ in range(THREADS)]

    def work(number):
        for _ in range(10):
            with any_log.share_consumer("t", group="g", delivery_limit=1000) as worker:
                for record in worker.poll(0, max_records=100):
                    if record.offset % 3:
                        record.ack()
                        done[number].append((record.partition, record.offset))

    in_threads(work)
    with any_log.share_consumer("t", group="g", delivery_limit=1000) as worker:
        while records := worker.poll(0):
            for record in records:
                record.ack()
                done[0].append((record.partition, record.offset))
    assert Counter(place for places in done for place in places) == Counter(
        (partition, offset) for partition in (0, 1) for offset in range(RECORDS // 2)
    )


def test_topics_that_come_and_go_under_members(any_log):
    stop = threading.Event()

    def work(number):
        if number == 0:
            for step in range(20):
                any_log.create_topic("u")
                any_log.append_many("u", [b"x"] * 10)
                if step % 2:
                    any_log.delete_topic("u")
                else:
                    any_log.add_partitions("u", 2)
                    any_log.append("u", b"y", partition=1)
                    any_log.delete_topic("u")
            stop.set()
            return
        with any_log.share_consumer("t", group="g") as worker:
            while not stop.is_set():
                worker.poll(0.01)

    in_threads(work)
    assert len(any_log.store.core.engine.models["cursors"].cursors) == 2
