"""The topology of a store, and its drawings."""

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

import msglog
from msglog.cli.graph.layout import lay_out
from msglog.cli.graph.svg import to_svg
from msglog.cli.graph.texts import to_dot, to_mermaid
from msglog.cli.graph.topology import Edge, Node, Topology

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


def ways(run, store):
    found = run("graph", store, "--json").json
    names = {node["id"]: f"{node['kind']} {node['name']}" for node in found["nodes"]}
    return {(names[edge["source"]], names[edge["target"]], edge["label"], edge["dashed"]) for edge in found["edges"]}


def test_the_ways_of_messages_are_found(run, store):
    assert ways(run, store) == {
        ("exchange events", "queue mail", "order.#", False),
        ("exchange dead", "queue lost", "", False),
        ("exchange events", "exchange unrouted", "alternate", True),
        ("queue mail", "exchange dead", "dead letters", True),
        ("topic orders", "group billing", "lag 1", False),
    }


def test_circles_loops_headers_and_several_bindings_are_drawn(run, tmp_path):
    with msglog.Broker(str(tmp_path / "s")) as broker:
        broker.declare_exchange("a", "headers")
        broker.declare_exchange("b", "topic")
        broker.declare_queue("q", dead_letter_exchange="", dead_letter_routing_key="q")
        broker.bind_exchange("b", "a", arguments={"x-match": "any", "n": 1})
        broker.bind_exchange("a", "b", "back")
        broker.bind("q", "b", "one.*")
        broker.bind("q", "b", "two")
        broker.bind("q", "amq.fanout")
    assert ways(run, tmp_path / "s") == {
        ("exchange a", "exchange b", "x-match=any n=1", False),
        ("exchange b", "exchange a", "back", False),
        ("exchange b", "queue q", "one.*, two", False),
        ("exchange amq.fanout", "queue q", "", False),
        ("queue q", "queue q", "dead letters", True),
    }
    for format_ in ("mermaid", "dot", "svg"):
        assert run("graph", tmp_path / "s", "--format", format_).out


def test_a_drawing_goes_into_a_file(run, store, tmp_path):
    assert run("graph", store, "-f", "svg", "-o", tmp_path / "g.svg").out == f"wrote {tmp_path}/g.svg\n"
    assert (tmp_path / "g.svg").read_text() == run("graph", store, "-f", "svg").out
    run("graph", store, "-f", "png", code=2)
    run("graph", store, "-o", tmp_path / "no" / "g.svg", code=5)


@st.composite
def topologies(draw):
    kinds = st.sampled_from(["exchange", "queue", "topic", "group"])
    count = draw(st.integers(0, 8))
    nodes = tuple(Node(number, draw(kinds), draw(NAMES), draw(NAMES)) for number in range(count))
    numbers = st.integers(0, max(count - 1, 0))
    edges = draw(st.lists(st.builds(Edge, numbers, numbers, st.just("") | NAMES, st.booleans()), max_size=12))
    return Topology(nodes, tuple(edges if count else ()))


@given(topologies())
def test_a_picture_is_xml_with_every_name(topology):
    root = ET.fromstring(to_svg(topology))
    texts = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in (node.name for node in topology.nodes) if text not in texts] == []
    assert len(root.findall("{http://www.w3.org/2000/svg}g")) == len(topology.nodes)


@given(topologies())
def test_texts_have_a_line_for_each_node_and_edge(topology):
    for drawing, extra in ((to_mermaid(topology), 1), (to_dot(topology), 5)):
        assert len(drawing.splitlines()) == len(topology.nodes) + len(topology.edges) + extra
    for line in to_mermaid(topology).splitlines()[1:]:
        assert re.fullmatch(
            r'  n\d+(\{\{|\[\(|\[\[|\(\[)"[^"]*"(\}\}|\)\]|\]\]|\]\))|  n\d+ -(\.-|-)>(\|"[^"]*"\|)? n\d+', line
        )
    for line in to_dot(topology).splitlines()[4:-1]:
        assert len(re.findall(r'(?<!\\)(?:\\\\)*"', line)) in {0, 2}


@given(st.integers(1, 10), st.data())
def test_a_layout_has_no_boxes_upon_each_other(count, data):
    sizes = {number: (data.draw(st.floats(10, 200)), data.draw(st.floats(10, 60))) for number in range(count)}
    ends = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    edges = data.draw(st.lists(ends, max_size=20, unique=True))
    layout = lay_out(sizes, edges, {})
    boxes = []
    for number, (width, height) in sizes.items():
        x, y = layout.centers[number]
        boxes.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
        assert boxes[-1][0] >= -0.001
        assert boxes[-1][1] >= -0.001
        assert boxes[-1][2] <= layout.width + 0.001
        assert boxes[-1][3] <= layout.height + 0.001
    for place, (left, top, right, bottom) in enumerate(boxes):
        for other_left, other_top, other_right, other_bottom in boxes[:place]:
            apart_x = right <= other_left + 0.001 or other_right <= left + 0.001
            apart_y = bottom <= other_top + 0.001 or other_bottom <= top + 0.001
            assert apart_x or apart_y
    assert set(layout.bends) == {edge for edge in edges if edge[0] != edge[1]}


@pytest.mark.parametrize("chain", [1, 2, 5])
def test_what_follows_stands_to_the_right(chain):
    sizes = dict.fromkeys(range(chain + 1), (50.0, 20.0))
    edges = [(number, number + 1) for number in range(chain)]
    layout = lay_out(sizes, [*edges, (0, chain)], {})
    places = [layout.centers[number][0] for number in range(chain + 1)]
    assert places == sorted(places)
    assert len(layout.bends[0, chain]) == chain - 1
