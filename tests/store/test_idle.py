"""Whoever waits uses no CPU: nothing polls, whatever it waits for and however the store syncs."""

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

import msglog
from support.brokers import Call, wait_until

OF_EACH_KIND = 100
TASKS = Path("/proc/self/task")

pytestmark = pytest.mark.skipif(not TASKS.exists(), reason="only Linux tells how often a thread ran")


def switches(threads):
    """Return how often each thread has begun to run so far."""
    counts = {}
    for thread in threads:
        status = (TASKS / str(thread.native_id) / "status").read_text()
        counts[thread] = sum(int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line)
    return counts


def subscribe_to_everything(store, stack):
    """Have subscriptions of both kinds, and calls of every kind that wait."""
    log, broker = store.log, store.broker
    log.create_topic("t")
    for number in range(OF_EACH_KIND):
        name = broker.declare_queue(f"q{number}").name
        stack.enter_context(broker.subscribe(name, print))
        stack.enter_context(log.subscribe("t", group=f"g{number}", callback=print))
    queue = stack.enter_context(broker.consume("q0"))
    topic = stack.enter_context(log.consumer("t", group="polling"))
    alone = stack.enter_context(log.consumer("t"))
    share = stack.enter_context(log.share_consumer("t", group="share"))
    channel = stack.enter_context(broker.channel())
    broker.declare_queue("held")
    broker.send("held", b"x")
    stack.callback(broker.get("held").ack)
    idle = stack.enter_context(broker.subscribe("held", print))
    calls = [
        Call(call)
        for call in (
            queue.get,
            lambda: queue.get(60),
            topic.poll,
            lambda: alone.poll(60),
            lambda: share.poll(60),
            lambda: channel.poll(60),
            lambda: idle.wait_idle(60),
            lambda: broker.get("q1", timeout=60),
        )
    ]
    for consumer in (queue, topic, alone, share):
        stack.callback(consumer.stop)
    stack.callback(channel.wake)
    return [call.thread for call in calls]


@pytest.mark.parametrize("sync", ["memory", "none", "interval", "commit"])
def test_idle_subscribers_use_no_cpu(tmp_path, sync):
    options = {} if sync == "memory" else {"sync": sync}
    before = set(threading.enumerate())
    path = ":memory:" if sync == "memory" else tmp_path / "store"
    with msglog.Store(path, **options) as store, ExitStack() as stack:
        waiting = subscribe_to_everything(store, stack)
        ours = [thread for thread in threading.enumerate() if thread not in before]
        waiting += [thread for thread in ours if thread.name == "msglog-subscription"]
        assert len(waiting) > 2 * OF_EACH_KIND
        others = [thread for thread in ours if thread not in waiting]
        seen = []
        wait_until(lambda: seen.append(switches(waiting)) or (len(seen) > 5 and seen[-1] == seen[-5]))
        store.core.engine.checkpoint()  # what there is to sync was brought about by what came before
        first, helpers = switches(waiting), switches(others)
        time.sleep(1)
        assert switches(waiting) == first
        # The thread that syncs looks once a second, the timers when somebody's time has come.
        assert all(count - helpers[thread] <= 4 for thread, count in switches(others).items())
        store.broker.get("q1")
        for number in (0, 1):
            store.broker.send(f"q{number}", b"for whoever waits")
