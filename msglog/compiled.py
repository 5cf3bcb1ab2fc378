"""Whether a module that was compiled from C may be used. Imported by the layers that have one.

`_compiled.c` in a package does what some of its methods do in nearly every call, and leaves the rest to them; one may
have several. They are optional: installing compiles them where there is a compiler and Python's headers, and everything
works without. `MSGLOG_PURE_PYTHON=1` in the environment leaves them unused.
"""

import os
from pathlib import Path
from types import ModuleType
from zlib import crc32

HEADER = Path(__file__).with_name("_compiled.h")


def is_made_of(module: ModuleType, source: str | os.PathLike[str]) -> bool:
    """Return whether a module is made of this source, and not left over from another version of it."""
    source = Path(source)
    try:
        crc = crc32(source.read_bytes())
    except FileNotFoundError:  # as where it is installed
        return True
    for header in (HEADER, *sorted(source.parent.glob("*.h"))):
        crc = crc32(header.read_bytes(), crc)
    return bool(crc == module.SOURCE_CRC)


def is_wanted() -> bool:
    """Return whether compiled modules are to be used."""
    return not os.environ.get("MSGLOG_PURE_PYTHON")
