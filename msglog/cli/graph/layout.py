"""Places for the nodes of a small graph, in columns from left to right. Pure. Imported by `svg`.

The usual steps for layered drawings: edges that close a circle are turned around, each node goes into the column after
its last source, long edges get a bend in every column they cross, and columns are put in an order in which edges cross
little, by moving each node to the middle of its neighbours, to and fro.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

Size = tuple[float, float]
Point = tuple[float, float]

_GAP_Y: Final = 28.0
_SWEEPS: Final = 8
_LEAST_GAP_X: Final = 60.0


class Layout(NamedTuple):
    """The middle of each node, the points that each edge goes through, and the size of it all."""

    centers: dict[int, Point]
    bends: dict[tuple[int, int], list[Point]]
    width: float
    height: float


def lay_out(
    sizes: Mapping[int, Size], edges: Sequence[tuple[int, int]], gaps: Mapping[tuple[int, int], float]
) -> Layout:
    """Return places for nodes of some sizes. `gaps`: the room that the label of an edge needs between columns."""
    forward = _without_circles(sizes, edges)
    columns_of = _columns(sizes, set(forward.values()))
    boxes = dict(sizes)
    chains: dict[tuple[int, int], list[int]] = {}
    links: list[tuple[int, int]] = []
    fresh = max(sizes, default=0) + 1
    for edge, (first, last) in forward.items():
        chain = [first]
        for column in range(columns_of[first] + 1, columns_of[last]):
            boxes[fresh] = (0.0, 0.0)
            columns_of[fresh] = column
            chain.append(fresh)
            fresh += 1
        chain.append(last)
        links += pairwise(chain)
        chains[edge] = chain if first == edge[0] else chain[::-1]
    columns = _ordered(columns_of, links)
    centers, width, height = _placed(columns, boxes, _column_gaps(columns_of, forward, gaps, len(columns)), links)
    bends = {edge: [centers[node] for node in chain[1:-1]] for edge, chain in chains.items()}
    return Layout({node: centers[node] for node in sizes}, bends, width, height)


def _without_circles(nodes: Iterable[int], edges: Sequence[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, int]]:
    """Return each edge as it is to be laid out: those that lead back to where one came from are turned around."""
    onward: dict[int, list[int]] = {node: [] for node in nodes}
    for source, target in edges:
        onward[source].append(target)
    state: dict[int, bool] = {}  # False: on the way, True: done with
    back: set[tuple[int, int]] = set()
    for start, first in onward.items():
        if start in state:
            continue
        state[start] = False
        path = [(start, iter(first))]
        while path:
            node, targets = path[-1]
            for target in targets:
                if target not in state:
                    state[target] = False
                    path.append((target, iter(onward[target])))
                    break
                if not state[target]:
                    back.add((node, target))
            else:
                state[node] = True
                path.pop()
    return {edge: edge[::-1] if edge in back else edge for edge in edges if edge[0] != edge[1]}


def _columns(nodes: Iterable[int], edges: set[tuple[int, int]]) -> dict[int, int]:
    """Return the column of each node: one after the last of its sources."""
    columns = dict.fromkeys(nodes, 0)
    sources = dict.fromkeys(columns, 0)
    for _, target in edges:
        sources[target] += 1
    ready = [node for node, count in sources.items() if not count]
    for node in ready:  # grows on the way
        for source, target in edges:
            if source == node:
                columns[target] = max(columns[target], columns[node] + 1)
                sources[target] -= 1
                if not sources[target]:
                    ready.append(target)
    return columns


def _ordered(columns_of: Mapping[int, int], links: Sequence[tuple[int, int]]) -> list[list[int]]:
    columns: list[list[int]] = [[] for _ in range(max(columns_of.values(), default=-1) + 1)]
    for node, column in columns_of.items():
        columns[column].append(node)
    before, after = _neighbours(columns_of, links)
    for sweep in range(_SWEEPS):
        neighbours = after if sweep % 2 else before
        rank = {node: place for column in columns for place, node in enumerate(column)}
        for nodes in columns[::-1] if sweep % 2 else columns:
            wanted = {node: _mean([rank[one] for one in neighbours[node]], rank[node]) for node in nodes}
            nodes.sort(key=wanted.__getitem__)
            rank.update((node, place) for place, node in enumerate(nodes))
    return columns


def _neighbours(
    nodes: Iterable[int], links: Sequence[tuple[int, int]]
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    before: dict[int, list[int]] = {node: [] for node in nodes}
    after: dict[int, list[int]] = {node: [] for node in nodes}
    for source, target in links:
        before[target].append(source)
        after[source].append(target)
    return before, after


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _column_gaps(
    columns_of: Mapping[int, int],
    forward: Mapping[tuple[int, int], tuple[int, int]],
    gaps: Mapping[tuple[int, int], float],
    columns: int,
) -> list[float]:
    """Return the room after each column: enough for the labels that stand there."""
    room = [_LEAST_GAP_X] * columns
    for edge, (first, _) in forward.items():
        column = columns_of[first]
        room[column] = max(room[column], gaps.get(edge, 0.0))
    return room


def _placed(
    columns: Sequence[Sequence[int]], boxes: Mapping[int, Size], gaps: Sequence[float], links: Sequence[tuple[int, int]]
) -> tuple[dict[int, Point], float, float]:
    before, _ = _neighbours(boxes, links)
    heights = {node: boxes[node][1] for node in boxes}
    tall = max((sum(heights[node] + _GAP_Y for node in column) - _GAP_Y for column in columns), default=0.0)
    centers: dict[int, Point] = {}
    left = 0.0
    for column, gap in zip(columns, gaps, strict=True):
        wide = max(boxes[node][0] for node in column)
        free = tall - sum(heights[node] + _GAP_Y for node in column) + _GAP_Y
        top, used = 0.0, 0.0
        for node in column:
            wanted = _mean([centers[one][1] for one in before[node]], tall / 2) - heights[node] / 2
            move = min(max(0.0, wanted - top), free - used)  # towards its sources, as far as all still fit
            used += move
            top += move
            centers[node] = (left + wide / 2, top + heights[node] / 2)
            top += heights[node] + _GAP_Y
        left += wide + gap
    return centers, left - (gaps[-1] if gaps else 0.0), tall
