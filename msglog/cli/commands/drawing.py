"""`graph`: the topology as a picture. Imported by `main`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from msglog.cli.application import command
from msglog.cli.commands.looking import PANEL
from msglog.cli.graph.svg import to_svg
from msglog.cli.graph.texts import to_dot, to_json, to_mermaid
from msglog.cli.graph.topology import Topology, topology_of
from msglog.cli.opening import reading
from msglog.cli.options import StorePath
from msglog.cli.output import terminal
from msglog.cli.output.text import safe

Format = Literal["mermaid", "dot", "svg", "json"]
_DRAWINGS: Final[dict[str, Callable[[Topology], str]]] = {
    "mermaid": to_mermaid,
    "dot": to_dot,
    "svg": to_svg,
    "json": to_json,
}
_PIPE: Final = "-"


@command("graph", panel=PANEL, examples=("graph ./shop >> README.md", "graph ./shop -f svg -o shop.svg"))
def graph(
    store: StorePath,
    *,
    format_: Annotated[Format, typer.Option("--format", "-f", help="Which language.")] = "mermaid",
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to; - is standard output.")
    ] = _PIPE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json: nodes and edges.")] = False,
) -> None:
    """Draw exchanges, queues, topics and groups.

    Arrows are the ways that bindings make, and what groups read. Dashed are the ways of dead letters and of
    messages that an exchange routes nowhere. SVG needs no other program.
    """
    with reading(store) as opened:
        drawing = _DRAWINGS["json" if as_json else format_](topology_of(opened))
    if output == _PIPE:
        sys.stdout.write(drawing)
        return
    Path(output).write_text(drawing, encoding="utf-8")
    terminal.line(f"wrote {safe(output)}")
