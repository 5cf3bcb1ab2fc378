"""Compiled methods pass for functions of Python: to mocks, `inspect`, `pickle`, `copy` and weak references."""

import copy
import inspect
import pickle
import weakref
from types import FunctionType, MethodType
from typing import Any
from unittest import mock

import pytest

import msglog
from msglog import Broker, Delivery, QueueConsumer
from msglog.broker import compiled
from msglog.broker.publishing import Publishing
from msglog.cursors import Cursor
from msglog.cursors import compiled as compiled_cursors
from msglog.errors import InvalidOptionError

pytestmark = pytest.mark.skipif(
    not (compiled.is_compiled() and compiled_cursors.is_compiled()),
    reason="installed without the compiled short ways: no compiler, or no headers of Python",
)

METHODS = [(Publishing, "publish"), (Delivery, "ack"), (Broker, "get"), (QueueConsumer, "get"), (Cursor, "settle")]


@pytest.fixture(scope="module", autouse=True)
def _in_front():
    """The compiled methods, whatever the environment says."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, method in compiled.short_ways(compiled._compiled):
            patch.setattr(owner, name, method)
        patch.setattr(Cursor, "settle", compiled_cursors.short_way(compiled_cursors._compiled))
        yield


@pytest.fixture
def broker():
    with Broker(":memory:") as broker:
        broker.declare_queue("q")
        yield broker


@pytest.mark.parametrize(("owner", "name"), METHODS)
def test_a_compiled_method_passes_for_a_function(owner: type, name: str) -> None:
    method = getattr(owner, name)
    python = inspect.unwrap(method)
    assert method is not python
    assert isinstance(method, FunctionType)
    assert inspect.isfunction(method)
    assert inspect.getsource(method) == inspect.getsource(python)
    assert not inspect.iscoroutinefunction(method)
    assert (name, method) in inspect.getmembers(owner, inspect.isfunction)


@pytest.mark.parametrize("what", ["__closure__", "__code__", "__defaults__", "__globals__", "__kwdefaults__"])
def test_a_compiled_method_shows_what_its_function_is_made_of(what: str) -> None:
    for method in (Publishing.publish, Delivery.ack, Cursor.settle):
        assert getattr(method, what) is getattr(inspect.unwrap(method), what)
        assert inspect.getfile(method) == inspect.getfile(inspect.unwrap(method))


def test_a_patched_method_with_autospec_gets_self_and_checks_its_arguments(broker: Broker) -> None:
    with mock.patch.object(Broker, "publish", autospec=True, return_value=7) as publish:
        assert broker.publish("", "q", b"body", mandatory=True) == 7
        publish.assert_called_once_with(broker, "", routing_key="q", body=b"body", mandatory=True)
        with pytest.raises(TypeError, match="missing a required argument"):
            broker.publish("")
        with pytest.raises(TypeError, match="unexpected keyword"):
            broker.publish("", "q", b"", nothing=1)
    assert broker.get("q") is None
    assert broker.publish("", "q", b"body") == 1


def test_an_autospec_of_a_class_checks_the_arguments_of_its_compiled_methods() -> None:
    broker, delivery = (mock.create_autospec(one, instance=True) for one in (Broker, Delivery))
    broker.publish("", "q", b"body")
    broker.publish.assert_called_once_with(exchange="", routing_key="q", body=b"body")
    delivery.ack()
    delivery.ack.assert_called_once_with()
    for call in (lambda: broker.publish(""), broker.get, lambda: delivery.ack(1)):
        with pytest.raises(TypeError):
            call()


def test_a_wrapped_method_is_called_and_its_calls_are_known(broker: Broker) -> None:
    with mock.patch.object(broker, "publish", wraps=broker.publish) as publish:
        assert broker.publish("", "q", b"body") == 1
    publish.assert_called_once_with("", "q", b"body")
    delivery = broker.get("q")
    with mock.patch.object(Delivery, "ack", autospec=True, side_effect=Delivery.ack) as ack:
        delivery.ack()
    ack.assert_called_once_with(delivery)
    assert delivery.settled


@pytest.mark.parametrize(("owner", "name"), METHODS)
def test_a_compiled_method_is_pickled_by_its_name_and_copied_as_itself(owner: type, name: str) -> None:
    method = getattr(owner, name)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(method, protocol)) is method
    assert copy.copy(method) is copy.deepcopy(method) is method


def test_a_compiled_method_can_be_referred_to_weakly(broker: Broker) -> None:
    bound = weakref.WeakMethod(broker.publish)
    assert isinstance(bound(), MethodType)
    assert bound()("", "q", b"body") == 1
    gone: list[Any] = []
    way = compiled._compiled.before_ack(inspect.unwrap(Delivery.ack))
    reference = weakref.ref(way, gone.append)
    assert reference() is way
    del way
    assert reference() is None
    assert gone == [reference]


@pytest.mark.parametrize("timeout", [-1, 10**9 + 1, 10**30])
def test_a_timeout_that_is_not_allowed_is_refused_though_a_message_waits(broker: Broker, timeout: int) -> None:
    broker.publish("", "q", b"body")
    with broker.consume("q") as consumer:
        with pytest.raises(InvalidOptionError):
            consumer.get(timeout)
        with pytest.raises(InvalidOptionError):
            broker.get("q", timeout=timeout)
        delivery: msglog.Delivery | None = consumer.get(10**9)
        assert delivery is not None
        delivery.ack()
