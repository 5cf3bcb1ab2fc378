"""`sync="interval"` keeps its promise by the machine's clock, whatever the store's clock does."""

import time

import msglog
from msglog.testing import ManualClock

PATIENCE_SECONDS = 20


def until(condition) -> bool:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def test_an_idle_store_on_a_manual_clock_is_synced_all_the_same(tmp_path):
    with msglog.Log(str(tmp_path), sync="interval", sync_interval_ms=20, clock=ManualClock()) as log:
        log.create_topic("idle")
        log.append("idle", b"x")
        metrics = log.store.metrics
        assert until(lambda: metrics()["durable_commits"] == metrics()["commits"] > 0)


def test_in_commit_mode_what_did_not_wait_is_synced_soon(tmp_path):
    with msglog.Log(str(tmp_path), sync_interval_ms=20, clock=ManualClock()) as log:
        log.create_topic("read")
        log.append_many("read", [b"x"] * 3)
        with log.consumer("read", group="g", auto_commit=True) as consumer:
            assert len(consumer.poll(0)) == 3
            consumer.poll(0)  # commits, and does not wait
            metrics = log.store.metrics
            assert until(lambda: metrics()["durable_commits"] == metrics()["commits"])
