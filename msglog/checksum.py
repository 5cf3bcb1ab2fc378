"""CRC-32C, by the wheel `crc32c`, without what its package does besides when it is imported.

The package looks up its own version and has a command line, for which it imports `importlib.metadata`, `argparse` and
what they need: a fifth of the time that importing msglog would take. The function itself is in an extension module of
the package, which is loaded here from where it lies, under its own name, so that the package finds it already loaded
when somebody imports it later. Where it does not lie there, as in a bundle or a later version, the package is imported.
Imported by whoever computes or verifies checksums.
"""

import sys
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader, PathFinder
from importlib.util import module_from_spec
from typing import TYPE_CHECKING, Any, Final

__all__ = ["crc32c"]

_PACKAGE: Final = "crc32c"
_EXTENSION: Final = "crc32c._crc32c"


def _load() -> Any:
    """Return the extension module, None where it is not an ordinary file in the package's directory.

    None, too, where another thread imports the package just now: an import statement waits for it.
    """
    found = sys.modules.get(_PACKAGE) or sys.modules.get(_EXTENSION)
    if found is not None:
        return found if hasattr(found, "crc32c") else None
    package = PathFinder.find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        return None
    spec = PathFinder.find_spec(_EXTENSION, package.submodule_search_locations)
    if spec is None or not isinstance(spec.loader, ExtensionFileLoader):
        return None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return sys.modules.setdefault(_EXTENSION, module) if hasattr(module, "crc32c") else None


if TYPE_CHECKING:
    from crc32c import crc32c
else:
    crc32c: Callable[..., int]
    _module = _load()
    if _module is None:
        from crc32c import crc32c
    else:
        crc32c = _module.crc32c
