"""The build hook of the project, which is no part of the package: `hatch_build.py` at its top."""

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).parents[2] / "hatch_build.py"


def _load():
    spec = importlib.util.spec_from_file_location("hatch_build", _PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_module = _load()
CompileHotPaths = _module.CompileHotPaths
compile_beside = _module.compile_beside
SOURCES = _module.SOURCES
