"""Faults for the tests of applications: writes that fail, in every way they can, and writes that are slow.

A `Faults` is a watcher of its store: it refuses what a `Fault` strikes before it is written, or says afterwards that it
failed. Everything around behaves as with a real failure, since it takes the same way out. Exported by `msglog.testing`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from msglog.checks import check_choice, check_flag, check_integer, refused, wrong_type
from msglog.errors import DiskFullError, MsglogError
from msglog.store import Store, StoreFace
from msglog.testing.events import Committed, Published, Settled, ShareSettled
from msglog.testing.matching import asked_for, check_payload, is_met, wording
from msglog.testing.predicates import Asking
from msglog.testing.tapping import Tap, core_of
from msglog.testing.watching import Watcher
from msglog.types import Record
from msglog.waiting import Waiter

if TYPE_CHECKING:  # no test without tasks imports asyncio for it
    from msglog import aio

Call = Literal["append", "publish", "settle", "commit", "write"]

_FIELDS: Final[dict[str, frozenset[str]]] = {
    "append": frozenset({"topic", "partition", "key", "value"}),
    "publish": frozenset({"exchange", "routing_key", "body", "queue"}),
    "settle": frozenset({"queue", "routing_key", "body", "outcome", "group", "topic", "partition", "offset"}),
    "commit": frozenset({"group", "topic", "partition", "offset"}),
    "write": frozenset(),
}
"""What each call can be told apart by."""

_GIVEN: Final[dict[str, frozenset[str]]] = {
    **_FIELDS,
    "append": _FIELDS["append"] | {"offset"},
    "publish": _FIELDS["publish"] | {"queues"},
}
"""What each call is about, and so the attributes that an error given as a class gets from it."""

_PAYLOADS: Final = ("key", "value", "body")
_MOST_SECONDS: Final = 60.0
_MOST: Final = (1 << 31) - 1


class Fault:
    """Something that goes wrong; made by `Faults.fail` and `Faults.slow`. In force from then on until `end`.

    `strikes`: how often it did. A context manager that ends it.
    """

    def __init__(
        self,
        owner: "Faults",
        call: Call,
        expected: Mapping[str, object],
        *,
        when: Callable[[Any], object] | None,
        error: MsglogError | None,
        applied: bool,
        seconds: float,
        skip: int,
        times: int | None,
    ) -> None:
        self._owner = owner
        self._call = call
        self._expected = expected
        self._when = when
        self._error = error
        self._applied = applied
        self._seconds = seconds
        self._skip = skip
        self._left = times
        self.strikes = 0

    def end(self) -> None:
        """Let nothing go wrong any more. Calling again does nothing."""
        self._owner.forget(self)

    def assert_struck(self, times: int | None = None) -> None:
        """Assert that it struck, at least once or so many times. Raises `AssertionError`.

        One for a topic or queue that nobody uses never does, and the test would pass without it.
        """
        if self.strikes == times or (times is None and self.strikes):
            return
        wanted = "at least once" if times is None else f"{times} times"
        raise AssertionError(f"{self!r} should have struck {wanted}")

    def meets(self, call: Call, subject: object, *, applied: bool) -> bool:
        """Count a call, before it is written or after, and return whether it is struck; not public."""
        if call != self._call or applied is not self._applied or self._left == 0 or not self._is_meant(subject):
            return False
        if self._skip:
            self._skip -= 1
            return False
        self.strikes += 1
        if self._left is not None:
            self._left -= 1
        return True

    @property
    def predicate(self) -> object:
        """A predicate that is asked whether a call is meant, None when there is none; not public."""
        expected: list[object] = [self._when, *self._expected.values()]
        asked = [one for one in expected if callable(one)]
        return asked[0] if asked else None

    def _is_meant(self, subject: object) -> bool:
        for name, value in self._expected.items():
            if name == "queue" and isinstance(subject, Published):
                if not any(is_met(value, queue) for queue in subject.queues):
                    return False
            elif not hasattr(subject, name) or not is_met(value, getattr(subject, name)):
                return False
        return self._when is None or bool(self._when(subject))

    def strike(self, subject: object) -> None:
        """Wait, and raise what there is to raise; not public."""
        if self._seconds:
            Waiter().wait(self._seconds)
        if self._error is not None:
            raise _copy(self._error, subject)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def __repr__(self) -> str:
        what = f"raises {type(self._error).__name__}" if self._error is not None else f"takes {self._seconds} s"
        return f"<msglog.testing.Fault {self._call}{wording(self._expected)} {what}, struck {self.strikes} times>"


def _copy(error: MsglogError, subject: object) -> MsglogError:
    """Return another such error; attributes that nobody has given are those of what it strikes.

    Not made by its class, which may be the test's own and want other arguments.
    """
    copy = type(error).__new__(type(error))
    copy.args = error.args
    copy.__dict__.update(error.__dict__, injected=True)
    if isinstance(error, OSError) and isinstance(copy, OSError):
        copy.errno = error.errno
    for name in _missing(error):
        if name == "queue" and isinstance(subject, Published):
            copy.__dict__[name] = subject.queues[0] if subject.queues else subject.routing_key
        elif hasattr(subject, name):
            copy.__dict__[name] = getattr(subject, name)
    return copy


def _missing(error: MsglogError) -> list[str]:
    """Return the attributes that such errors have and that this one has not."""
    names = {name for kind in type(error).__mro__ for name in vars(kind).get("__annotations__", {})}
    return sorted(name for name in names if not hasattr(error, name))


def was_injected(error: BaseException | None) -> bool:
    """Whether an exception comes from a fault, perhaps by way of others."""
    while error is not None:
        if getattr(error, "injected", False):
            return True
        error = error.__cause__ or error.__context__
    return False


class _Injector(Watcher):
    """Lets what passes meet the faults that are in force."""

    def __init__(self, asking: Asking) -> None:
        self.faults: tuple[Fault, ...] = ()
        self._asking = asking

    def _meet(self, call: Call, subjects: Sequence[object], *, applied: bool = False) -> None:
        for subject in subjects:
            for fault in self.faults:
                meets = partial(fault.meets, call, subject, applied=applied)
                predicate = fault.predicate
                if meets() if predicate is None else self._asking.ask(predicate, meets):
                    fault.strike(subject)

    def writing(self) -> None:
        self._meet("write", [None])

    def appending(self, records: list[Record]) -> None:
        self._meet("append", records)

    def appended(self, records: list[Record]) -> None:
        self._meet("append", records, applied=True)

    def committing(self, offsets: list[Committed]) -> None:
        self._meet("commit", offsets)

    def committed(self, offsets: list[Committed]) -> None:
        self._meet("commit", offsets, applied=True)

    def share_settling(self, records: list[ShareSettled]) -> None:
        self._meet("settle", records)

    def share_settled(self, records: list[ShareSettled]) -> None:
        self._meet("settle", records, applied=True)

    def publishing(self, published: Published) -> None:
        self._meet("publish", [published])

    def published(self, published: Published) -> None:
        self._meet("publish", [published], applied=True)

    def settling(self, settled: Settled) -> None:
        self._meet("settle", [settled])

    def settled(self, settled: Settled) -> None:
        if settled.outcome != "requeued":  # nothing is written for that, and so nothing can fail
            self._meet("settle", [settled], applied=True)


class Faults:
    """Makes writes to a store fail, or take their time.

    `store`: a `Store`, `Log` or `Broker`, or one of `msglog.aio`, open for writing. What fails does so for every handle
    on it, in transactions and channels, too; a commit that contains something that fails, fails as a whole. Raises
    `InvalidTypeError`, `ReadOnlyError`, `ClosedError`. Safe for any thread. A context manager that ends all faults.
    """

    def __init__(self, store: "Store | StoreFace | aio.Store | aio.Log | aio.Broker") -> None:
        core = core_of(store)
        self._path = core.path
        self._tap = Tap.of(core)
        self._injector = _Injector(Asking(self._tap))
        self._lock = Lock()

    def fail(
        self,
        call: Call,
        error: MsglogError | type[MsglogError] = DiskFullError,
        *,
        applied: bool = False,
        skip: int = 0,
        times: int | None = 1,
        when: Callable[[Any], object] | None = None,
        **expected: Any,
    ) -> Fault:
        """Have a call raise an error, from now on until the fault is ended.

        Arguments:
            call: "append" (a record), "publish" (a message), "settle" (an acknowledgement, a rejection, or what a
                queue removes by itself), "commit" (offsets of a group), or "write": whatever is written to the store.
                A requeue is nothing that could fail.
            error: what is raised: an error of msglog, or its class, which gets its attributes from the call that fails.
            applied: it is written nevertheless, and the error comes afterwards: its outcome must be "unknown", as that
                of `StoreFailedError` is.
            skip: let so many calls that are meant pass first; 2 has the third one fail.
            times: how many fail, None for all.
            when: a predicate on the `Record`, `Published`, `Settled`, `ShareSettled` or `Committed` that is meant; the
                offset of a record is the one that it would get.
            expected: which calls are meant, by value or predicate: `topic`, `partition`, `key`, `value` of an append;
                `exchange`, `routing_key`, `body`, `queue` of a publication; `queue`, `routing_key`, `body`, `outcome`
                of a message that is settled, `group`, `topic`, `partition`, `offset`, `outcome` of a share group's
                record; the first four of these of a commit. Not for "write".

        Each record and message of many counts; when one fails, nothing of the call is written. Predicates are called
        under locks of the store, so they must not call it: what they call of it that needs these raises
        `InvalidOptionError`. Raises `InvalidTypeError`, `InvalidOptionError`.
        """
        check_flag("applied", applied)
        check_choice("call", call, list(_FIELDS))
        failure = self._made(call, error)
        if applied and failure.outcome != "unknown":
            allowed = 'an error with the outcome "unknown": what was written cannot be "not_applied"'
            raise refused("error", type(failure).__name__, allowed)
        if applied and call == "write":
            raise refused("applied", applied, 'False for "write"')
        return self._add(call, expected, when=when, error=failure, applied=applied, seconds=0.0, skip=skip, times=times)

    def slow(
        self,
        call: Call,
        seconds: float,
        *,
        skip: int = 0,
        times: int | None = None,
        when: Callable[[Any], object] | None = None,
        **expected: Any,
    ) -> Fault:
        """Have a call take longer by so many seconds of real time, 0 to 60, as on a slow disk: others wait behind it.

        The other arguments as for `fail`.
        """
        allowed = f"seconds from 0 to {_MOST_SECONDS:.0f}"
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise wrong_type("seconds", seconds, allowed)
        if not 0 <= seconds <= _MOST_SECONDS:
            raise refused("seconds", seconds, allowed)
        return self._add(
            call, expected, when=when, error=None, applied=False, seconds=float(seconds), skip=skip, times=times
        )

    def end(self) -> None:
        """End all faults. Calling again does nothing."""
        for fault in self._injector.faults:
            self.forget(fault)

    def forget(self, fault: Fault) -> None:
        """End one fault; not public."""
        injector = self._injector
        with self._lock:
            injector.faults = tuple(other for other in injector.faults if other is not fault)
            if not injector.faults:
                self._tap.remove(injector)

    def _add(
        self,
        call: Call,
        expected: Mapping[str, object],
        *,
        when: Callable[[Any], object] | None,
        error: MsglogError | None,
        applied: bool,
        seconds: float,
        skip: int,
        times: int | None,
    ) -> Fault:
        check_choice("call", call, list(_FIELDS))
        for name in expected:
            if name not in _FIELDS[call]:
                fields = ", ".join(sorted(_FIELDS[call])) or "nothing"
                raise refused("expected", name, f"{call!r} is told apart by {fields}")
            if name in _PAYLOADS:
                check_payload(name, expected[name])
        check_integer("skip", skip, 0, _MOST)
        if times is not None:
            check_integer("times", times, 1, _MOST)
        if when is not None and not callable(when):
            raise wrong_type("when", when, "a predicate")
        fault = Fault(
            self,
            call,
            asked_for(**expected),
            when=when,
            error=error,
            applied=applied,
            seconds=seconds,
            skip=skip,
            times=times,
        )
        with self._lock:
            self._injector.faults = (*self._injector.faults, fault)
            self._tap.add(self._injector)
        return fault

    def _made(self, call: Call, error: object) -> MsglogError:
        """Return the error to raise; one that is given as a class gets the attributes that are known."""
        if isinstance(error, MsglogError):
            return error
        if not isinstance(error, type) or not issubclass(error, MsglogError):
            raise wrong_type("error", error, "an error of msglog, or its class")
        made = error("made to fail by a test")
        known = {"path": self._path, "requested": 0, "owner_pid": None}
        made.__dict__.update({name: known[name] for name in _missing(made) if name in known})
        unknown = [name for name in _missing(made) if name not in _GIVEN[call]]
        if unknown:
            details = ", ".join(f"{name}=..." for name in unknown)
            allowed = f'an error with the attributes that {call!r} does not tell: {error.__name__}("...", {details})'
            raise refused("error", error.__name__, allowed)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def __repr__(self) -> str:
        return f"<msglog.testing.Faults {self._path!r} {len(self._injector.faults)} in force>"
