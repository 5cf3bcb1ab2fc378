"""The life of a store's handle."""

import gc
import inspect
import os
import pathlib
import warnings

import pytest

import msglog
from msglog import ClosedError, InvalidOptionError, InvalidTypeError, Log, Store
from msglog.storage import Engine
from msglog.testing import ManualClock


class Child:
    """Something that a store ends when it is closed."""

    def __init__(self, name, ended, *, fails=False):
        self.name = name
        self.ended = ended
        self.fails = fails

    def close(self):
        self.ended.append(self.name)
        if self.fails:
            raise OSError(self.name)


def test_a_store_is_a_context_manager(tmp_path):
    with Store(tmp_path / "s") as store:
        assert store.log.topics() == []
    assert store.closed


def test_close_twice_is_fine(tmp_path):
    store = Store(tmp_path / "s")
    store.close()
    store.close()


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.log,
        lambda store: store.flush(),
        lambda store: store.metrics(),
        lambda store: store.recovery,
        lambda store: store.__enter__(),
    ],
)
def test_a_closed_store_refuses(tmp_path, use):
    store = Store(tmp_path / "s")
    store.close()
    with pytest.raises(ClosedError, match="closed"):
        use(store)


def test_the_path_is_absolute_and_stays_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Store("s") as store:
        assert store.path == str(tmp_path / "s")
    assert store.path == str(tmp_path / "s")


def test_the_directory_is_for_the_owner_only(tmp_path):
    with Store(tmp_path / "a" / "s"):
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "a" / "s").stat().st_mode & 0o777 == 0o700


def test_memory_is_private_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Store(":memory:") as one, Store(":memory:") as two:
        one.log.create_topic("t")
        assert two.log.topics() == []
    assert list(tmp_path.iterdir()) == []


def test_repr_tells_path_and_mode(tmp_path):
    store = Store(tmp_path / "s", sync="none")
    assert repr(store) == f"<msglog.Store {store.path!r} sync='none' commits=0>"
    store.close()
    assert repr(store) == f"<msglog.Store {store.path!r} closed>"
    with Store(tmp_path / "s", readonly=True) as reader:
        assert "readonly" in repr(reader)


@pytest.mark.parametrize("path", [b"bytes", 1, None, ["s"]])
def test_a_path_of_the_wrong_type(path):
    with pytest.raises(InvalidTypeError, match="path must be a directory's path"):
        Store(path)


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_path_that_cannot_be(path):
    with pytest.raises(InvalidOptionError, match="path="):
        Store(path)


def test_a_path_that_is_a_file(tmp_path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(InvalidOptionError, match="this is a file"):
        Store(tmp_path / "f")
    assert (tmp_path / "f").read_text() == "x"


@pytest.mark.parametrize(
    ("option", "given", "error"),
    [
        ("sync", "always", InvalidOptionError),
        ("sync", True, InvalidTypeError),
        ("sync", None, InvalidTypeError),
        ("sync_interval_ms", 0, InvalidOptionError),
        ("sync_interval_ms", 3_600_001, InvalidOptionError),
        ("sync_interval_ms", 1.0, InvalidTypeError),
        ("sync_interval_ms", True, InvalidTypeError),
        ("readonly", 1, InvalidTypeError),
        ("readonly", None, InvalidTypeError),
        ("segment_bytes", 1023, InvalidOptionError),
        ("segment_bytes", 1 << 31, InvalidOptionError),
        ("segment_bytes", "1", InvalidTypeError),
        ("max_record_bytes", 0, InvalidOptionError),
        ("max_record_bytes", (256 << 20) + 1, InvalidOptionError),
        ("max_record_bytes", False, InvalidTypeError),
        ("clock", 1, InvalidTypeError),
        ("clock", ManualClock, InvalidTypeError),
    ],
)
def test_options_are_checked_before_anything_is_made(tmp_path, option, given, error):
    if given is ManualClock:
        given = object()
    with pytest.raises(error) as caught:
        Store(tmp_path / "s", **{option: given})
    assert caught.value.option == option
    assert option in str(caught.value)
    assert not (tmp_path / "s").exists()


def test_the_signature_shows_the_defaults():
    parameters = inspect.signature(Store).parameters
    assert parameters["sync"].default == "commit"
    assert parameters["segment_bytes"].default == 64 << 20
    assert list(parameters) == [
        "path",
        "sync",
        "sync_interval_ms",
        "readonly",
        "clock",
        "segment_bytes",
        "max_record_bytes",
    ]


def test_an_unknown_option(tmp_path):
    with pytest.raises(TypeError, match="speed"):
        Store(tmp_path / "s", speed=1)


def test_an_unclosed_store_warns_and_lets_go(tmp_path):
    store = Store(tmp_path / "s")
    store.log.create_topic("t")
    del store  # the store and its log are a cycle: only the collector finds them
    with pytest.warns(ResourceWarning, match="unclosed <msglog.Store"):
        gc.collect()
    with Store(tmp_path / "s") as again:
        assert again.log.topics() == ["t"]


def test_an_unclosed_log_warns(tmp_path):
    log = Log(tmp_path / "s")
    log.store.log.create_topic("t")  # a cycle, for the collector only
    del log
    with pytest.warns(ResourceWarning, match="unclosed"):
        gc.collect()


def test_a_failed_opening_does_not_warn(tmp_path):
    (tmp_path / "f").write_text("x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidOptionError):
            Store(tmp_path / "f")
        gc.collect()


def test_subscriptions_end_first_then_consumers_then_the_engine(tmp_path, monkeypatch):
    ended = []
    store = Store(tmp_path / "s")
    consumer, subscription = Child("consumer", ended), Child("subscription", ended)
    store.attach_consumer(consumer)
    store.attach_subscription(subscription)
    close = Engine.close
    monkeypatch.setattr(Engine, "close", lambda engine: (ended.append("engine"), close(engine)))
    store.close()
    assert ended == ["subscription", "consumer", "engine"]


def test_everything_is_closed_even_if_one_fails(tmp_path):
    ended = []
    store = Store(tmp_path / "s")
    children = [Child("a", ended, fails=True), Child("b", ended)]
    store.attach_subscription(children[0])
    store.attach_consumer(children[1])
    with pytest.raises(OSError, match="a"):
        store.close()
    assert sorted(ended) == ["a", "b"]
    assert store.closed
    Store(tmp_path / "s").close()


def test_children_that_are_gone_are_not_kept(tmp_path):
    ended = []
    with Store(tmp_path / "s") as store:
        store.attach_consumer(Child("a", ended))
        gc.collect()
    assert ended == []


def test_a_log_owns_the_store_it_opened(tmp_path):
    log = Log(tmp_path / "s")
    log.close()
    assert log.store.closed
    log.close()


def test_a_log_of_a_store_only_borrows_it(tmp_path):
    with Store(tmp_path / "s") as store:
        log = Log(store)
        log.create_topic("t")
        log.close()
        assert log.closed
        with pytest.raises(ClosedError):
            log.append("t", b"x")
        with pytest.raises(ClosedError):
            log.topics()
        with pytest.raises(ClosedError):
            log.__enter__()
        assert store.log.topics() == ["t"]


def test_store_log_is_one_object_until_it_is_closed(tmp_path):
    with Store(tmp_path / "s") as store:
        log = store.log
        assert store.log is log
        log.close()
        assert store.log is not log
        assert store.log.topics() == []


def test_a_log_of_a_store_takes_no_options(tmp_path):
    with Store(tmp_path / "s") as store, pytest.raises(InvalidOptionError, match="open already"):
        Log(store, sync="none")


def test_log_passes_its_options_on(tmp_path):
    with Log(tmp_path / "s", sync="none", max_record_bytes=10) as log:
        assert log.store.core.engine.options.sync == "none"
        log.create_topic("t")
        with pytest.raises(msglog.RecordTooLargeError):
            log.append("t", b"x" * 11)


def test_recovery_reports_a_clean_store(tmp_path):
    Store(tmp_path / "s").close()
    with Store(tmp_path / "s") as store:
        assert store.recovery.clean
        assert store.recovery.life == 2


def test_a_path_object_and_a_string_are_one_store(tmp_path):
    with Store(tmp_path / "s") as one, Store(str(tmp_path / "s") + os.sep) as two:
        assert one.core is two.core
    assert isinstance(tmp_path, pathlib.Path)


@pytest.mark.parametrize("kind", ["below a file", "a file", "too long", "surrogate"])
def test_a_path_that_cannot_be_a_store_is_refused_with_a_typed_error(tmp_path, kind):
    (tmp_path / "file").write_text("x")
    path = {
        "below a file": str(tmp_path / "file" / "store"),
        "a file": str(tmp_path / "file"),
        "too long": str(tmp_path / ("x" * 300)),
        "surrogate": str(tmp_path / "\ud800"),
    }[kind]
    with pytest.raises((msglog.StoreFailedError, msglog.InvalidOptionError)) as refused:
        msglog.Store(path)
    assert refused.value.outcome == "not_applied"
    assert (tmp_path / "file").read_text() == "x"
