"""Whether a module that was compiled from C may be used. Imported by the layers that have one.

`_compiled.c` in a package does what some of its methods do in nearly every call, and leaves the rest to them. It is
optional: installing compiles it where there is a compiler and Python's headers, and everything works without.
`MSGLOG_PURE_PYTHON=1` in the environment leaves it unused.
"""

import os
from pathlib import Path
from types import ModuleType
from zlib import crc32

HEADER = Path(__file__).with_name("_compiled.h")


def is_made_of(module: ModuleType, source: str | os.PathLike[str]) -> bool:
    """Return whether a module is made of this source, and not left over from another version of it."""
    try:
        return bool(crc32(HEADER.read_bytes(), crc32(Path(source).read_bytes())) == module.SOURCE_CRC)
    except FileNotFoundError:  # as where it is installed
        return True


def is_wanted() -> bool:
    """Return whether compiled modules are to be used."""
    return not os.environ.get("MSGLOG_PURE_PYTHON")
