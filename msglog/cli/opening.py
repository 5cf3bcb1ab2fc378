"""Opening the store that a command is about, to look at it or to write.

Invariant: a path without a store is an error and stays as it was; only `init` makes one. Imported by the commands.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msglog.cli.exits import NOT_OPENED, CommandError
from msglog.errors import CorruptionError, ReadOnlyError, StoreLockedError
from msglog.store import Store
from msglog.store.core import filesystem
from msglog.store.verifying import is_store


@contextmanager
def reading(path: str) -> Iterator[Store]:
    """Open a store to look at it, whoever writes it."""
    check_there(path)
    with opened(path, readonly=True) as store:
        yield store


@contextmanager
def writing(path: str) -> Iterator[Store]:
    """Open a store to change it; what was changed is on the disk at the end."""
    check_there(path)
    with opened(path, readonly=False) as store:
        yield store


def check_there(path: str) -> None:
    """Make sure that there is a store."""
    directory = Path(path)
    if not directory.exists():
        raise CommandError(f"there is nothing at {path}", NOT_OPENED)
    if not directory.is_dir():
        raise CommandError(f"{path} is no directory", NOT_OPENED)
    if not holds_store(path):
        raise CommandError(f"there is no store in {path}; msglog init makes one", NOT_OPENED)


def holds_store(path: str) -> bool:
    """Whether a directory has anything of a store."""
    return is_store(filesystem(), path)


@contextmanager
def opened(path: str, *, readonly: bool) -> Iterator[Store]:
    """Open a store; what keeps it from opening is told as such, and not as an error of the command."""
    try:
        store = Store(path, readonly=readonly)
    except ReadOnlyError:
        raise CommandError(
            f"{path} was not closed: msglog recover {path} opens it once for writing", NOT_OPENED
        ) from None
    except CorruptionError as error:
        raise CommandError(
            f"{error}; msglog verify tells more, msglog salvage saves what it can", NOT_OPENED
        ) from error
    except StoreLockedError as error:
        raise CommandError(f"{path} is open for writing in process {error.owner_pid or '?'}", NOT_OPENED) from error
    except OSError as error:
        raise CommandError(str(error), NOT_OPENED) from error
    with store:
        yield store
