"""A transaction that has ended holds no records, bodies or deliveries, however long somebody keeps it."""

import contextlib
import gc
import types

import pytest

import msglog

LARGE = b"large" * 100


def reachable(start):
    """Return what an object holds, without going through the store that it is of."""
    beyond = (type, types.ModuleType, types.FunctionType, msglog.Store)
    seen, left = {}, [start]
    while left:
        found = left.pop()
        if id(found) in seen or isinstance(found, beyond) or type(found).__name__ in {"StoreCore", "Engine"}:
            continue
        seen[id(found)] = found
        if type(found).__name__ not in {"VirtualHost", "Topic", "Sharing"}:
            left += gc.get_referents(found)
    return seen.values()


def stop():
    raise ValueError("stop")


def values_in(transaction):
    return [found for found in reachable(transaction) if isinstance(found, bytes) and LARGE in found]


@pytest.mark.parametrize("end", ["commit", "rollback", "error"])
@pytest.mark.parametrize("sync", ["none", "commit"])
def test_an_ended_transaction_holds_no_data(tmp_path, end, sync):
    with msglog.Store(tmp_path / "s", sync=sync) as store:
        store.log.create_topic("t", partitions=2)
        store.broker.declare_queue("q")
        store.broker.send("q", LARGE)
        delivery = store.broker.get("q")
        transaction = store.transaction()
        expected = pytest.raises(ValueError, match="stop") if end == "error" else contextlib.nullcontext()
        with expected, transaction as tx:
            tx.append("t", LARGE, partition=0)
            tx.append_many("t", [LARGE, b"small"], partition=1)
            tx.send("q", LARGE)
            tx.publish_many("", [("q", LARGE)])
            tx.ack(delivery)
            assert len(values_in(transaction)) >= 2
            if end == "rollback":
                tx.rollback()
            if end == "error":
                stop()
        assert values_in(transaction) == []
        if end == "commit":
            assert [(one.partition, one.offset) for one in transaction.metadata] == [(0, 0), (1, 0), (1, 1)]
            assert [record.value for record in store.log.read("t", 1)] == [LARGE, b"small"]
        else:
            delivery.nack()
