"""Asking before something is lost. Imported by the commands that remove or move things."""

import sys

import typer

from msglog.cli.exits import PROBLEM, CommandError
from msglog.cli.options import usage
from msglog.cli.output.text import safe


def confirm(question: str, *, yes: bool) -> None:
    """Go on if the person agrees or did so before; where nobody can be asked, that is an error."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise usage(f"{question} Nobody is there to ask: --yes says so")
    if not typer.confirm(safe(question), err=True):
        raise CommandError("nothing was changed", PROBLEM)
