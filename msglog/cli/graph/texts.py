"""A topology as Mermaid, as DOT and as JSON. Pure. Imported by the command `graph`."""

import json
from typing import Final

from msglog.cli.graph.topology import Edge, NodeKind, Topology

_MERMAID_SHAPES: Final[dict[NodeKind, tuple[str, str]]] = {
    "exchange": ("{{", "}}"),
    "queue": ("[(", ")]"),
    "topic": ("[[", "]]"),
    "group": ("([", "])"),
}
_DOT_SHAPES: Final[dict[NodeKind, str]] = {
    "exchange": "hexagon",
    "queue": "cylinder",
    "topic": "box3d",
    "group": "oval",
}


def to_mermaid(topology: Topology) -> str:
    """Return a flow chart for Markdown pages and wikis."""
    lines = ["flowchart LR"]
    for node in topology.nodes:
        begin, end = _MERMAID_SHAPES[node.kind]
        lines.append(f'  n{node.id}{begin}"{_mermaid(node.name)}<br/>{_mermaid(node.note)}"{end}')
    for edge in topology.edges:
        arrow = "-.->" if edge.dashed else "-->"
        label = f'|"{_mermaid(edge.label)}"|' if edge.label else ""
        lines.append(f"  n{edge.source} {arrow}{label} n{edge.target}")
    return "\n".join(lines) + "\n"


def to_dot(topology: Topology) -> str:
    """Return a graph for Graphviz."""
    lines = ["digraph msglog {", "  rankdir=LR;", '  node [fontname="sans-serif"];', '  edge [fontname="sans-serif"];']
    lines += [
        f'  n{node.id} [shape={_DOT_SHAPES[node.kind]}, label="{_dot(node.name)}\\n{_dot(node.note)}"];'
        for node in topology.nodes
    ]
    lines += [f"  n{edge.source} -> n{edge.target}{_dot_attributes(edge)};" for edge in topology.edges]
    return "\n".join([*lines, "}"]) + "\n"


def to_json(topology: Topology) -> str:
    """Return nodes and edges as JSON; edges name their ends by the ids of nodes."""
    found = {
        "nodes": [node._asdict() for node in topology.nodes],
        "edges": [edge._asdict() for edge in topology.edges],
    }
    return json.dumps(found, ensure_ascii=False, indent=2) + "\n"


def _dot_attributes(edge: Edge) -> str:
    attributes = []
    if edge.label:
        attributes.append(f'label="{_dot(edge.label)}"')
    if edge.dashed:
        attributes.append("style=dashed")
    return f" [{', '.join(attributes)}]" if attributes else ""


def _mermaid(text: str) -> str:
    """Write whatever means something to Mermaid or to HTML as the number of its character."""
    return "".join(one if one.isalnum() or one in " .,-_:/=" else f"#{ord(one)};" for one in text)


def _dot(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
