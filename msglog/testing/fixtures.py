"""What the fixtures of the pytest plugin do: a store for one test, opened as its marks say, ended whatever it left.

Knows nothing of pytest. Imported by the package `pytest_msglog` when a test asks for a fixture.
"""

import logging
import traceback
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from msglog.checks import check_choice, refused
from msglog.clock import Clock
from msglog.errors import ClosedError, StoreFailedError
from msglog.store import Store, StoreOptions
from msglog.testing.faults import was_injected

CLOSE_SECONDS: Final = 5.0
"""How long callbacks that run at the end of a test are waited for."""

_CHOICES: Final = {"storage": ("memory", "disk"), "background_errors": ("fail", "ignore")}
_STORE_OPTIONS: Final = frozenset(StoreOptions.__annotations__) - {"clock", "readonly"}


class Options(NamedTuple):
    """How the store of a test is opened, and what becomes of errors behind its back."""

    storage: str
    background_errors: str
    store: dict[str, Any]


def options_of(marks: Iterable[Mapping[str, Any]], configured: Mapping[str, str]) -> Options:
    """Return the options of a test. `marks`: the keyword arguments of its marks, the closest first.

    `configured`: what the configuration file says, "" for nothing. Raises `InvalidOptionError`, `InvalidTypeError`.
    """
    found: dict[str, Any] = {"storage": "memory", "background_errors": "fail"}
    found |= {name: value for name, value in configured.items() if value}
    for mark in reversed(list(marks)):
        found |= mark
    for name in found:
        if name not in _CHOICES and name not in _STORE_OPTIONS:
            known = ", ".join(sorted({*_CHOICES, *_STORE_OPTIONS}))
            raise refused("option", name, f"as options of the mark or the configuration: {known}")
    for name, choices in _CHOICES.items():
        check_choice(name, found[name], choices)
    return Options(found.pop("storage"), found.pop("background_errors"), found)


class _Listener(logging.Handler):
    """Keeps the exceptions that msglog logs. Nobody but msglog's threads saw them.

    But for those that the test itself has injected, and for bytes that do not decode where a view was told to leave
    them out or to reject them: the application has an answer to them.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[tuple[BaseException | None, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record with its traceback."""
        answered = getattr(record, "event", None) == "not_decoded"
        if record.exc_info and not answered and not was_injected(record.exc_info[1]):
            trace = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            self.heard.append((record.exc_info[1], f"{record.getMessage()}\n{trace}"))

    def complaints(self, *, crashed: bool) -> list[str]:
        """Return what was heard. `crashed`: but for what a store says that was killed."""
        return [text for error, text in self.heard if not (crashed and _tells_of_crash(error))]


def _tells_of_crash(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, ClosedError | StoreFailedError):
        error = error.__cause__ or error.__context__
    return error is not None


class StoreOfTest:
    """The store of one test, in memory when `path` is None."""

    def __init__(self, path: str | None, clock: Clock, options: Options) -> None:
        self._ignored = options.background_errors == "ignore"
        self._listener = _Listener()
        self._logger = logging.getLogger("msglog")
        self._logger.addHandler(self._listener)
        try:
            self.store = Store(":memory:" if path is None else path, clock=clock, **options.store)
        except BaseException:
            self._logger.removeHandler(self._listener)
            raise

    def end(self, *, crashed: bool = False) -> str:
        """Close the store with all that the test left open; return what there is to complain of, "" for nothing.

        `crashed`: the test had its disk crash, so what ran in the background was refused from then on.
        """
        try:
            left = self.store.end_subscriptions(CLOSE_SECONDS)
            if left and not self.store.closed:
                self.store.kill()
            else:
                self.store.close()
        finally:
            self._logger.removeHandler(self._listener)
        complaints = [f"a callback still runs {CLOSE_SECONDS:.0f} s after the end of the test: {one!r}" for one in left]
        heard = [] if self._ignored else self._listener.complaints(crashed=crashed)
        if heard:
            complaints.append(
                "msglog had errors in the background while the test ran, which "
                '@pytest.mark.msglog(background_errors="ignore") would ignore:'
            )
            complaints += heard
        return "\n".join(complaints)
