"""Opens what crashes leave behind and checks it against the history."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from msglog.storage import Options
from support.crash_images import CrashImage
from support.disk import Disk, Image
from support.faulty_filesystem import FaultyFileSystem
from support.history import History, State, read_state
from support.ledger import Ledger
from support.session import open_engine

MODES: tuple[Any, ...] = ("commit", "interval", "none")


@dataclass(frozen=True)
class Recovered:
    """What a store showed when it was opened, and the number of the last commit that its report names."""

    state: State
    commit: int


def recover(image: Image, sync: Any = "commit", *, close: bool = False) -> State:
    """Open a store on an image and return what it shows."""
    return recover_fully(image, sync, close=close).state


def recover_fully(image: Image, sync: Any = "commit", *, close: bool = False) -> Recovered:
    """The same with the number of the last commit."""
    engine = open_engine(FaultyFileSystem(Disk(image, recording=False)), Options(sync=sync, segment_bytes=1000))
    state = read_state(engine)
    ledger = engine.models["ledger"]
    if isinstance(ledger, Ledger) and ledger.repeats:
        raise AssertionError(f"{ledger.repeats} events were replayed twice")
    if close:
        engine.close()
    return Recovered(state, engine.recovery.commit)


class CrashCheck:
    """Recovers images one by one, and remembers what equal trees led to: recovery knows only the tree."""

    def __init__(self, history: History) -> None:
        self.tried = 0
        self._history = history
        self._known: dict[object, Recovered] = {}

    @property
    def distinct(self) -> int:
        """How many different trees were recovered."""
        return len(self._known)

    def check(self, image: CrashImage) -> State:
        """Recover one image, in one mode or another, and check what it shows."""
        self.tried += 1
        try:
            found = self._known.get(image.key)
            if found is None:
                number = self.distinct
                found = recover_fully(image.build(), MODES[number % 3], close=number % 8 == 0)
                self._known[image.key] = found
            self._history.check(found.state, image.point, killed=image.killed, commit=found.commit)
        except Exception as error:
            raise AssertionError(f"{image}: {type(error).__name__}: {error}") from error
        return found.state

    def check_all(self, images: Iterable[CrashImage]) -> None:
        """Recover and check all of them."""
        for image in images:
            self.check(image)
