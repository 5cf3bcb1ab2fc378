"""The program `msglog`, also as `python -m msglog`: the command line, or a hint when its extra is not installed.

Imported by nobody.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Final

_NEEDED: Final = ("typer", "rich")
_USAGE: Final = 2
_INTERRUPTED: Final = 130


def main() -> int:
    """Run the command line with the arguments of the process; return the exit code."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(f"msglog: the command line needs {' and '.join(missing)}: pip install 'msglog[cli]'\n")
        return _USAGE
    try:
        code: int = import_module("msglog.cli.main").main()  # only now: its modules import what may be missing
    except KeyboardInterrupt:  # before anything has begun
        return _INTERRUPTED
    return code


if __name__ == "__main__":
    sys.exit(main())
