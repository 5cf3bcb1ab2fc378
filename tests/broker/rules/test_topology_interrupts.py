"""A change of the topology that an exception interrupts anywhere is completed by making it again."""

import sys

import pytest

from msglog.broker.rules.topology import EXCHANGE_TYPES, Topology
from support.opcodes import Striker, Struck
from support.routing import bound

KEYS = [["1"], ["2"], ["q"], ["1", "q"]]


def busy_topology(type_):
    """Two auto-delete exchanges before one of `type_`, which has queues; another one bound both ways; an alternate."""
    topology = Topology(choose=lambda count: count - 1)
    for name in ("a", "b"):
        topology.add_exchange(name, "fanout", auto_delete=True)
    for name in ("x", "y"):
        topology.add_exchange(name, type_, auto_delete=name == "x")
    topology.set_alternate("y", "a")
    for queue in "qrs":
        topology.add_queue(queue)
    for source, destination in (("a", "b"), ("b", "x"), ("a", "x"), ("x", "y"), ("y", "x"), ("y", "y")):
        topology.bind(bound(source, destination, "1", kind="exchange"))
    for binding in (bound("x", "q", "1"), bound("x", "q", "2"), bound("y", "r", "2"), bound("y", "q", "1")):
        topology.bind(binding)
    return topology


CHANGES = {
    "bind": lambda topology: topology.bind(bound("y", "s", "1", {"a": 1})),
    "unbind": lambda topology: topology.unbind(bound("x", "q", "1")),
    "unbind and let go": lambda topology: topology.unbind(bound("b", "x", "1", kind="exchange")),
    "remove a queue": lambda topology: topology.remove_queue("q"),
    "remove an exchange": lambda topology: topology.remove_exchange("x"),
    "remove an exchange bound to itself": lambda topology: topology.remove_exchange("y"),
    "add a queue": lambda topology: topology.add_queue("t"),
    "add an exchange": lambda topology: topology.add_exchange("z", "fanout"),
    "set an alternate": lambda topology: topology.set_alternate("x", "y"),
}


def state_of(topology):
    names = [name for name in ("", *"abxyz") if topology.has_exchange(name)]
    queues = list("qrst")
    return (
        {name: topology.bindings_from(name) for name in names},
        {(kind, name): topology.bindings_to(name, kind) for kind in ("queue", "exchange") for name in "abxyzqrst"},
        {(name, *keys): topology.route(name, keys, {"a": 1}) for name in names for keys in [*KEYS, queues]},
        {name: topology.depends_on_key_only(name) for name in names},
        topology._incoming,
    )


def answer(value):
    return sorted(value) if isinstance(value, list) else value


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="opcodes are CPython's")
@pytest.mark.parametrize("type_", sorted(EXCHANGE_TYPES))
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_an_interrupted_change_is_completed_by_making_it_again(type_, change):
    expected_state = busy_topology(type_)
    counter = Striker("msglog/broker/rules")
    with counter.striking():
        expected = answer(CHANGES[change](expected_state))
    repeated = answer(CHANGES[change](expected_state))
    assert counter.seen > 0
    for at in range(counter.seen):
        topology = busy_topology(type_)
        state_of(topology)  # what is remembered or prepared must not outlive the change
        striker = Striker("msglog/broker/rules", at)
        with pytest.raises(Struck), striker.striking():
            CHANGES[change](topology)
        complete = topology._incoming == expected_state._incoming
        again = answer(CHANGES[change](topology))
        assert again == (repeated if complete else expected), striker.place
        assert state_of(topology) == state_of(expected_state), striker.place
