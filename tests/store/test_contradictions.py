"""A state whose checksums fit and whose types are right, and that contradicts itself: told, and never a raw error."""

import contextlib
import shutil

import msgpack
import pytest

import msglog
from msglog import CorruptionError
from support.fuzzing.forms import repair_snapshot


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with one of everything that has places in streams; its state is in a snapshot."""
    path = tmp_path_factory.mktemp("made") / "s"
    with msglog.Store(path, sync="none") as store:
        store.log.create_topic("t")
        store.log.append_many("t", [b"x"] * 3)
        with store.log.share_consumer("t", group="s") as worker:
            for record in worker.poll(0, 2):
                record.ack()
        with store.log.consumer("t", group="g") as consumer:
            consumer.poll(0)
            consumer.commit()
        store.broker.declare_queue("q")
        store.broker.bind("q", "amq.fanout")
        store.broker.send("q", b"x")
        store.broker.send("q", b"later", delay_ms=3_600_000)
    return path


def change(path, contradiction):
    """Change the snapshot of a store's state."""
    (file,) = path.glob("state-*")
    data = file.read_bytes()
    state = msgpack.unpackb(data[4:], strict_map_key=False)
    contradiction(state)
    file.write_bytes(repair_snapshot(data[:4] + msgpack.packb(state)))


def cursor(place, value):
    def contradict(state):
        state["cursors"]["cursors"][0][place] = value

    return contradict


def everything(store):
    """Look at all there is."""
    calls = [
        *(lambda group=group: store.log.describe_group(group) for group in ("g", "s")),
        lambda: list(store.log.read("t", 0)),
        lambda: store.broker.peek("q"),
        lambda: store.broker.publish("amq.fanout", "", b"x"),
        lambda: store.broker.delete_queue("q"),
        lambda: store.log.delete_topic("t"),
        store.metrics,
    ]
    for call in calls:
        with contextlib.suppress(msglog.MsglogError):
            call()
    with contextlib.suppress(msglog.MsglogError), store.log.share_consumer("t", group="s") as worker:
        worker.poll(0)


CONTRADICTIONS = {
    "a cursor that settled more than it delivered": cursor(1, 9),
    "a cursor below zero": cursor(1, -1),
    "a cursor beyond all numbers": cursor(2, 1 << 63),
    "a cursor that settled out of order what it never delivered": cursor(3, [[5, 9]]),
    "ranges that are none": cursor(3, [[1, 0]]),
    "a cursor of an impossible id": cursor(0, 1 << 32),
    "two cursors of one id": lambda state: state["cursors"]["cursors"].append(state["cursors"]["cursors"][0]),
    "a topic in the stream of the state": lambda state: state["log"]["topics"][0].__setitem__(2, [0]),
    "a topic in a stream that is not there": lambda state: state["log"]["topics"][0].__setitem__(2, [99]),
    "two topics in one stream": lambda state: state["log"]["topics"].append(
        ["u", 2, *state["log"]["topics"][0][2:]],
    ),
    "a queue in the stream of the state": lambda state: state["broker"]["queues"][0][4][0].__setitem__(1, 0),
    "a queue in a stream that is not there": lambda state: state["broker"]["queues"][0][4][0].__setitem__(1, 99),
    "a queue with a cursor that is not there": lambda state: state["broker"]["queues"][0][4][0].__setitem__(2, 99),
    "delayed messages in a stream that is not there": lambda state: state["broker"]["buckets"][0].__setitem__(0, 99),
    "delayed messages in the stream of the state": lambda state: state["broker"]["buckets"][0].__setitem__(0, 0),
    "a binding to a queue that is not there": lambda state: state["broker"]["bindings"][0].__setitem__(1, "r"),
    "a binding from an exchange that is not there": lambda state: state["broker"]["bindings"][0].__setitem__(0, "e"),
    "an offset beyond the end": lambda state: state["groups"][0][1][0].__setitem__(2, 99),
    "an offset in a partition that is not there": lambda state: state["groups"][0][1][0].__setitem__(1, 7),
    "a share group with a cursor that is not there": lambda state: state["shares"][0][1][0].__setitem__(2, 99),
    "a share group in a partition that is not there": lambda state: state["shares"][0][1][0].__setitem__(1, 7),
    "ids that would be given twice": lambda state: state["cursors"].__setitem__("next_id", 1),
}


@pytest.mark.parametrize("contradiction", CONTRADICTIONS)
def test_a_contradiction_is_told_and_raises_typed_errors(made, tmp_path, contradiction):
    path = shutil.copytree(made, tmp_path / "s")
    change(path, CONTRADICTIONS[contradiction])
    assert list(msglog.verify(path)) != []
    told = msglog.salvage(path, tmp_path / "saved")
    assert told.records == 5
    with msglog.Store(tmp_path / "saved") as store:
        everything(store)
    with contextlib.suppress(CorruptionError), msglog.Store(path) as store:
        assert list(store.verify()) != []
        everything(store)


def test_without_one_there_is_nothing_to_tell(made):
    assert list(msglog.verify(made)) == []


def test_the_state_itself_cannot_be_deleted_as_a_topic(made, tmp_path):
    path = shutil.copytree(made, tmp_path / "s")
    change(path, CONTRADICTIONS["a topic in the stream of the state"])
    with pytest.raises(CorruptionError, match="the snapshot makes no sense"):
        msglog.Store(path)
