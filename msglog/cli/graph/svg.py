"""A topology as an SVG picture, without any program or library. Pure. Imported by the command `graph`."""

import unicodedata
from typing import Final
from xml.sax.saxutils import escape

from msglog.cli.graph.layout import Layout, Point, lay_out
from msglog.cli.graph.topology import Edge, Node, NodeKind, Topology

_MARGIN: Final = 16.0
_NODE_HEIGHT: Final = 48.0
_CHARACTER: Final = 7.6
_SMALL_CHARACTER: Final = 6.4
_PADDING: Final = 36.0
_LOOP: Final = 30.0
_MOST_LABEL: Final = 40
_FILLS: Final[dict[NodeKind, tuple[str, str]]] = {
    "exchange": ("#fff3d6", "#b7791f"),
    "queue": ("#dcecff", "#2b6cb0"),
    "topic": ("#def7e5", "#2f855a"),
    "group": ("#f0e6ff", "#6b46c1"),
}
_HEAD: Final = (
    '<defs><marker id="arrow" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="#718096"/></marker></defs>'
    '<rect width="100%" height="100%" fill="#ffffff"/>'
)


def to_svg(topology: Topology) -> str:
    """Return a picture with exchanges, queues, topics and groups in columns from left to right."""
    sizes = {node.id: (_node_width(node), _NODE_HEIGHT) for node in topology.nodes}
    edges = list(dict.fromkeys((edge.source, edge.target) for edge in topology.edges))
    gaps: dict[tuple[int, int], float] = {}
    for edge in topology.edges:
        pair = (edge.source, edge.target)
        gaps[pair] = max(gaps.get(pair, 0.0), _width(_short(edge.label), _SMALL_CHARACTER) + _PADDING)
    layout = lay_out(sizes, edges, gaps)
    width, height = layout.width + 2 * _MARGIN, layout.height + 2 * _MARGIN + _LOOP
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="{-_MARGIN:.0f} {-_MARGIN - _LOOP / 2:.0f} {width:.0f} {height:.0f}" font-family="sans-serif">'
        ),
        _HEAD.replace("<rect ", f'<rect x="{-_MARGIN:.0f}" y="{-_MARGIN - _LOOP / 2:.0f}" '),
    ]
    drawn = [_edge(edge, layout, sizes) for edge in topology.edges]
    parts += [line for line, _ in drawn]
    parts += [label for _, label in drawn if label]  # above all lines, with a rim that keeps them apart
    parts += [_node(node, layout.centers[node.id], sizes[node.id][0]) for node in topology.nodes]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _node(node: Node, center: Point, width: float) -> str:
    x, y = center
    fill, stroke = _FILLS[node.kind]
    corner = 22 if node.kind == "group" else 6
    shape = (
        f'<rect x="{x - width / 2:.1f}" y="{y - _NODE_HEIGHT / 2:.1f}" width="{width:.1f}" height="{_NODE_HEIGHT:.1f}" '
        f'rx="{corner}" fill="{fill}" stroke="{stroke}"/>'
    )
    return (
        f"<g><title>{escape(node.kind)} {escape(node.name)}</title>{shape}"
        f'<text x="{x:.1f}" y="{y - 3:.1f}" text-anchor="middle" font-size="13" fill="#1a202c">'
        f"{escape(node.name)}</text>"
        f'<text x="{x:.1f}" y="{y + 14:.1f}" text-anchor="middle" font-size="11" fill="{stroke}">'
        f"{node.kind}, {escape(node.note)}</text></g>"
    )


def _edge(edge: Edge, layout: Layout, sizes: dict[int, tuple[float, float]]) -> tuple[str, str]:
    """Return the line and the label of an edge."""
    (x1, y1), (x2, y2) = layout.centers[edge.source], layout.centers[edge.target]
    if edge.source == edge.target:
        top = y1 - _NODE_HEIGHT / 2
        left, right = x1 - 12, x1 + 12
        path = f"M{left:.1f} {top:.1f} C{left:.1f} {top - 24:.1f} {right:.1f} {top - 24:.1f} {right:.1f} {top:.1f}"
        middle = (x1, top - 20)
    else:
        direction = 1 if x2 > x1 else -1
        points = [
            (x1 + direction * sizes[edge.source][0] / 2, y1),
            *layout.bends[edge.source, edge.target],
            (x2 - direction * sizes[edge.target][0] / 2, y2),
        ]
        path, middle = _curve(points)
    style = ' stroke-dasharray="5 4"' if edge.dashed else ""
    line = f'<path d="{path}" fill="none" stroke="#718096"{style} marker-end="url(#arrow)"/>'
    if not edge.label:
        return line, ""
    label = (
        f'<text x="{middle[0]:.1f}" y="{middle[1] - 4:.1f}" text-anchor="middle" font-size="11" fill="#4a5568" '
        f'paint-order="stroke" stroke="#ffffff" stroke-width="4"><title>{escape(edge.label)}</title>'
        f"{escape(_short(edge.label))}</text>"
    )
    return line, label


def _curve(points: list[Point]) -> tuple[str, Point]:
    """Return a smooth path through points, and the middle of its first piece, where the label stands."""
    (x, y), *rest = points
    path = f"M{x:.1f} {y:.1f}"
    for to_x, to_y in rest:
        half = (x + to_x) / 2
        path += f" C{half:.1f} {y:.1f} {half:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
        x, y = to_x, to_y
    (x1, y1), (x2, y2) = points[:2]
    return path, ((x1 + x2) / 2, (y1 + y2) / 2)


def _node_width(node: Node) -> float:
    return max(_width(node.name, _CHARACTER), _width(f"{node.kind}, {node.note}", _SMALL_CHARACTER)) + _PADDING


def _width(text: str, character: float) -> float:
    return sum(2.0 if unicodedata.east_asian_width(one) in "WF" else 1.0 for one in text) * character


def _short(label: str) -> str:
    return label if len(label) <= _MOST_LABEL else f"{label[: _MOST_LABEL - 3]}..."
