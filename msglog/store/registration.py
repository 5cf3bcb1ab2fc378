"""What the models above the store announce when they are imported, so that the store need not import them.

A *model* is the in-memory state of one section of the store's events. A *face* is the public class behind an
attribute of `Store` (`store.log`). A *call* is what a method of `Store` does that needs the models. A *service* is
work that goes with an open directory, whatever the number of handles: it starts after the models are loaded and is
closed before the engine. A *check* knows what must hold in a model, and which streams and cursors belong to it. A
*measure* tells a model's part of `Store.metrics`, and *tables* what a notebook shows of it.
Invariant: registration happens at import, before the first store is opened: whoever opens one has all `PARTS` imported,
whatever the application has imported so far, and in whichever order it did, they come in the order of `PARTS`. Imported
by `store` and the models.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

from msglog.storage import Engine, Model
from msglog.types import Problem

if TYPE_CHECKING:
    from msglog.store.core import StoreCore
    from msglog.store.store import Store


class Face(Protocol):
    """A public class bound to one store."""

    @property
    def closed(self) -> bool:
        """Whether this handle was closed."""


class Service(Protocol):
    """Work that goes with an open directory."""

    def close(self) -> None:
        """End the work; must not fail and must not wait for long."""


class Claim(NamedTuple):
    """A "stream" or a "cursor", by its id, belongs to something.

    `labels` are the fields of a `Problem` that say to what. Every stream and every cursor of a store is claimed exactly
    once.
    """

    what: str
    id: int
    labels: Mapping[str, Any]


class Check(Protocol):
    """What must hold in one model, looked at piece by piece."""

    @property
    def lock(self) -> "Lock | None":
        """What is held, before the store lock, while a piece is looked at once more."""

    def claims(self) -> Iterator[Claim]:
        """Yield which streams and cursors belong to the model. Looks without a lock; under it, all of them."""

    def wards(self) -> Iterable[tuple[str, int]]:
        """Return what of this model some check must claim, under the store lock."""

    def pieces(self) -> Iterable[Any]:
        """Return the pieces there are now, without a lock: as many as there are definitions."""

    def look(self, piece: Any) -> Iterator[Problem]:
        """Yield what is wrong with one piece, nothing for one that is gone.

        Without a lock it may find what is not there, or raise: it is asked again under the lock then.
        """


ModelFactory = Callable[[Engine], Model]
CheckFactory = Callable[[Engine, "Mapping[str, Service]"], Check]

Tables = Callable[["StoreCore"], list[str]]
Measure = Callable[["StoreCore"], dict[str, Any]]

PARTS: Final = ("msglog.cursors", "msglog.broker", "msglog.log", "msglog.transactions")
"""The packages that announce something. Names only: what they are about is theirs to know."""

_Announced = TypeVar("_Announced", bound=Callable[..., Any])

_models: list[ModelFactory] = []
_calls: "dict[str, Callable[..., Any]]" = {}
_faces: dict[str, "Callable[[Store], Face]"] = {}
_checks: list[CheckFactory] = []
_measures: list[Measure] = []
_tables: list[Tables] = []
_services: "dict[str, Callable[[StoreCore], Service]]" = {}


def _rank(announced: Callable[..., Any]) -> int:
    """Return the place of the part that announced something; what is of no part comes last."""
    package = ".".join(announced.__module__.split(".")[:2])
    return PARTS.index(package) if package in PARTS else len(PARTS)


def _add(announced: list[_Announced], new: _Announced) -> None:
    """Add what a part announced, once: an import that was interrupted announces it again."""
    if new not in announced:
        announced.append(new)
        announced.sort(key=_rank)


def register_model(factory: ModelFactory) -> None:
    """Have every store opened from now on load this model."""
    _add(_models, factory)


def register_face(name: str, face: "Callable[[Store], Face]") -> None:
    """Make `face(store)` what the attribute `name` of a store returns."""
    _faces[name] = face


def register_call(name: str, function: "Callable[..., Any]") -> None:
    """Make `function(store, ...)` what the method `name` of a store does."""
    _calls[name] = function


def register_service(name: str, factory: "Callable[[StoreCore], Service]") -> None:
    """Have `factory(core)` called once for every directory opened from now on."""
    _services[name] = factory


def register_check(factory: CheckFactory) -> None:
    """Have `factory(engine, services)` make a check whenever a store is verified.

    `services` are those of an open directory, none for an engine that only the check uses.
    """
    _add(_checks, factory)


def register_measure(measure: Measure) -> None:
    """Have what `measure(core)` returns be part of `Store.metrics`: plain values, under keys that nobody else uses.

    It must take no lock for long, and not raise while the engine is open.
    """
    _add(_measures, measure)


def register_tables(tables: Tables) -> None:
    """Have the tables that `tables(core)` returns, in HTML, be part of what a notebook shows of a store."""
    _add(_tables, tables)


def make_tables(core: "StoreCore") -> list[str]:
    """Return the tables of all models."""
    return [table for tables in _tables for table in tables(core)]


def take_measures(core: "StoreCore") -> dict[str, Any]:
    """Return what the models tell of themselves."""
    return {key: value for measure in _measures for key, value in measure(core).items()}


def make_checks(engine: Engine, services: "Mapping[str, Service]") -> list[Check]:
    """Return the checks of all models of an engine."""
    return [factory(engine, services) for factory in _checks]


def model_factories() -> Sequence[ModelFactory]:
    """Return the models of all parts, in order."""
    for part in PARTS:
        import_module(part)
    return tuple(_models)


def make_face(name: str, store: "Store") -> Any:
    """Return a new face of `store`."""
    return _faces[name](store)


def call_of(name: str) -> "Callable[..., Any]":
    """Return the function that does what the method `name` of a store does."""
    return _calls[name]


def start_services(core: "StoreCore") -> dict[str, Service]:
    """Return the services of a directory that was just opened."""
    ordered = sorted(_services.items(), key=lambda item: _rank(item[1]))
    return {name: factory(core) for name, factory in ordered}
