"""Packages whose names are imported when they are first asked for, as PEP 562 lets modules do.

A package says what stands where, and shows the same to type checkers as plain imports. Imports nothing, since it comes
before everything else. Imported by `msglog` and by packages of it.
"""

from importlib import import_module

TYPE_CHECKING = False  # type checkers take the name for True; `typing` would cost more than all that is done here
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def importer(package: str, places: "Mapping[str, str]") -> "Callable[[str], object]":
    """Return the `__getattr__` of a package. `places`: modules, each with the names to be found there, apart by spaces.

    A name that was found stays in the package, so that it costs nothing the next time.
    """
    place_of = {name: place for place, names in places.items() for name in names.split()}

    def find(name: str) -> object:
        place = place_of.get(name)
        if place is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(place), name)
        setattr(import_module(package), name, value)
        return value

    return find
