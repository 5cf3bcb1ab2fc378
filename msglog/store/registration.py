"""What the models above the store announce when they are imported, so that the store need not import them.

A *model* is the in-memory state of one section of the store's events. A *face* is the public class behind an
attribute of `Store` (`store.log`). A *call* is what a method of `Store` does that needs the models. A *service* is
work that goes with an open directory, whatever the number of handles: it starts after the models are loaded and is
closed before the engine. Invariant: registration happens at import, before the first store is opened. Imported by
`store` and the models.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msglog.storage import Engine, Model

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


ModelFactory = Callable[[Engine], Model]

_models: list[ModelFactory] = []
_calls: "dict[str, Callable[..., Any]]" = {}
_faces: dict[str, "Callable[[Store], Face]"] = {}
_services: "dict[str, Callable[[StoreCore], Service]]" = {}


def register_model(factory: ModelFactory) -> None:
    """Have every store opened from now on load this model, after those that were registered before it."""
    _models.append(factory)


def register_face(name: str, face: "Callable[[Store], Face]") -> None:
    """Make `face(store)` what the attribute `name` of a store returns."""
    _faces[name] = face


def register_call(name: str, function: "Callable[..., Any]") -> None:
    """Make `function(store, ...)` what the method `name` of a store does."""
    _calls[name] = function


def register_service(name: str, factory: "Callable[[StoreCore], Service]") -> None:
    """Have `factory(core)` called once for every directory opened from now on."""
    _services[name] = factory


def model_factories() -> Sequence[ModelFactory]:
    """Return the registered models in order."""
    return tuple(_models)


def make_face(name: str, store: "Store") -> Any:
    """Return a new face of `store`."""
    return _faces[name](store)


def call(name: str, store: "Store", *arguments: Any, **options: Any) -> Any:
    """Do what the method `name` of `store` does."""
    return _calls[name](store, *arguments, **options)


def start_services(core: "StoreCore") -> dict[str, Service]:
    """Return the services of a directory that was just opened."""
    return {name: factory(core) for name, factory in _services.items()}
