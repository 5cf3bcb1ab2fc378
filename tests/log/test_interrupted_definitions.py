"""An interrupt while a topic is made or deleted: whoever comes next finishes it, and no id is given away twice."""

import pytest

import msglog
from msglog.log.keys.indexes import KeyIndexes
from msglog.log.model import LogModel
from msglog.storage import stream_table


@pytest.fixture(params=["none", "commit"])
def store(request, tmp_path):
    with msglog.Store(tmp_path / "store", sync=request.param) as opened:
        yield opened


def _interrupt(monkeypatch, place, name):
    """Have a call struck once, when it has done its work."""
    work = getattr(place, name, max)

    def struck(*arguments):
        monkeypatch.undo()
        work(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(place, name, struck, raising=False)


@pytest.mark.parametrize(("place", "name"), [(LogModel, "_add"), (LogModel, "_tell"), (stream_table, "max")])
def test_making_a_topic(store, monkeypatch, place, name):
    log = store.log
    _interrupt(monkeypatch, place, name)
    with pytest.raises(KeyboardInterrupt):
        log.create_topic("first")
    log.create_topic("second")
    for topic in ("first", "second"):
        log.append(topic, topic.encode())
    assert [[record.value for record in log.read(topic)] for topic in log.topics()] == [[b"first"], [b"second"]]
    assert list(store.verify()) == []


@pytest.mark.parametrize(("place", "name"), [(KeyIndexes, "forget"), (LogModel, "_tell")])
def test_deleting_a_topic(store, monkeypatch, place, name):
    log = store.log
    log.create_topic("first")
    told = []
    store.core.engine.models["log"].listeners.append(told.append)
    _interrupt(monkeypatch, place, name)
    with pytest.raises(KeyboardInterrupt):
        log.delete_topic("first")
    log.create_topic("first")
    log.append("first", b"new")
    assert [record.value for record in log.read("first")] == [b"new"]
    assert told.count("first") >= 2
    assert list(store.verify()) == []
