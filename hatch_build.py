"""Compiles the hot paths when the package is built, where that is possible; without them everything works, slower.

It takes the compiler that Python itself was built with, whatever CC and CFLAGS say, and no other tool: a machine
without it, an interpreter without its headers, or one without a global lock gets the package in pure Python.
`MSGLOG_PURE_PYTHON=1` leaves it out, `MSGLOG_REQUIRE_COMPILED=1` makes a failure an error.
"""

import os
import shlex
import subprocess
import sys
import sysconfig
import zlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = (
    "msglog/storage/_compiled_direct.c",
    "msglog/storage/_compiled_events.c",
    "msglog/storage/_compiled_hands.c",
    "msglog/storage/_compiled_journal.c",
    "msglog/cursors/_compiled.c",
    "msglog/log/_compiled.c",
    "msglog/broker/_compiled.c",
    "msglog/transactions/_compiled_collecting.c",
    "msglog/transactions/_compiled_deciding.c",
    "msglog/transactions/_compiled_looping.c",
)
HEADER = Path(__file__).parent / "msglog/_compiled.h"


class CompileHotPaths(BuildHookInterface[Any]):
    """The build hook of hatchling."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is put together; `version` is "editable" when it only points to this directory."""
        if self.target_name != "wheel" or os.environ.get("MSGLOG_PURE_PYTHON"):
            return
        compiled: list[Path] = []
        try:
            compiled += (compile_beside(Path(self.root) / source) for source in SOURCES)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            for module in compiled:
                module.unlink()  # all or nothing
            if os.environ.get("MSGLOG_REQUIRE_COMPILED"):
                raise
            said = getattr(error, "stderr", None) or ""
            self.app.display_warning(f"msglog is installed in pure Python: {error}\n{said}".rstrip())
            return
        if version != "editable":
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            for module in compiled:
                build_data["force_include"][str(module)] = str(module.relative_to(self.root))


def compile_beside(source: Path) -> Path:
    """Compile a module of Python and return its path, in the directory of its source.

    Raises OSError or ValueError where something is missing, CalledProcessError with what the compiler said as a note.
    """
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise ValueError("the hot paths are for CPython with its global lock")
    linker, suffix = sysconfig.get_config_var("LDSHARED"), sysconfig.get_config_var("EXT_SUFFIX")
    headers = Path(sysconfig.get_path("include"))
    if not linker or not suffix or not (headers / "Python.h").exists():
        raise ValueError("the headers of Python are not installed")
    target = source.with_suffix("").with_suffix(suffix)
    # Whoever runs this may be importing the old one: it is replaced as a whole.
    fresh = target.with_suffix(f".{os.getpid()}.tmp")
    flags = ["-std=c11", "-O2", "-DNDEBUG", *shlex.split(sysconfig.get_config_var("CCSHARED") or "")]
    mark = f"-DSOURCE_CRC={source_crc(source)}ULL"
    includes = [f"-I{headers}", f"-I{HEADER.parent}"]
    command = [*shlex.split(linker), *flags, mark, *includes, str(source), "-o", str(fresh)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 made of Python's own settings
        fresh.replace(target)
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr)
        raise
    finally:
        fresh.unlink(missing_ok=True)
    return target


def source_crc(source: Path) -> int:
    """Return a checksum of all that a module is made of: its source, and the headers that this may include."""
    crc = 0
    for part in (source, HEADER, *sorted(source.parent.glob("*.h"))):
        crc = zlib.crc32(part.read_bytes(), crc)
    return crc
