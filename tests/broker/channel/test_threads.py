"""Channels of many threads on one queue, with every message to one of them."""

from collections import Counter

import pytest

import msglog
from msglog import Properties
from support.brokers import Call, ready

PUBLISHERS = CONSUMERS = 3
EACH = 150


@pytest.mark.parametrize("sync", ["none", "commit"])
@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize("prefetch", [0, 1, 20])
def test_every_message_goes_to_one_channel(tmp_path, sync, mode, prefetch):
    with msglog.Broker(tmp_path / "s", sync=sync) as broker:
        broker.declare_queue("q")
        seen = []

        def publish(first):
            with broker.channel() as ch:
                ch.confirm_select()
                for number in range(first, first + EACH):
                    ch.basic_publish("", "q", b"%d" % number, Properties(delivery_mode=mode))
                assert ch.wait_for_confirms()

        def consume():
            with broker.channel() as ch:
                ch.basic_qos(prefetch_count=prefetch)
                ch.basic_consume("q")
                while len(seen) < PUBLISHERS * EACH:
                    for event in ch.poll(0.01):
                        seen.append(int(event.body))
                        ch.basic_ack(event.delivery_tag)

        calls = [Call(consume) for _ in range(CONSUMERS)]
        calls += [Call(lambda first=first * EACH: publish(first)) for first in range(PUBLISHERS)]
        for call in calls:
            call.result()
        assert Counter(seen) == Counter(range(PUBLISHERS * EACH))
        assert ready(broker, "q") == 0


def test_channels_that_come_and_go_lose_nothing(tmp_path):
    """Channels closed with messages in hand and on their way: all come again."""
    with msglog.Broker(tmp_path / "s", sync="none") as broker:
        broker.declare_queue("q")
        done = set()

        def consume():
            while len(done) < EACH:
                with broker.channel() as ch:
                    ch.basic_qos(prefetch_count=5)
                    ch.basic_consume("q")
                    for event in ch.poll(0.01, max_events=3)[:2]:
                        ch.basic_ack(event.delivery_tag)
                        done.add(int(event.body))

        calls = [Call(consume) for _ in range(CONSUMERS)]
        for number in range(EACH):
            broker.send("q", b"%d" % number)
        for call in calls:
            call.result()
        assert done == set(range(EACH))
        assert ready(broker, "q") == 0
