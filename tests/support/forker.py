"""Run in a child: fork with an open store and see what the forked process can and cannot do.

Arguments: directory, sync mode. Ends with an error if anything is not as it should be.
"""

import gc
import os
import sys
import traceback
from collections.abc import Callable
from threading import Event, Thread

from msglog.errors import ClosedError, StoreLockedError
from msglog.storage import Engine
from support.numbered import A, check_store, do_commit, open_store, prepare

ROUNDS = 3


def _forked(work: Callable[[], None]) -> None:
    """Run `work` in a forked process; an error there is one here."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 nothing may leave the forked process
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    if status:
        raise AssertionError(f"the forked process ended with {status}")


def _refuses(call: Callable[[], object]) -> None:
    try:
        call()
    except ClosedError:
        return
    raise AssertionError("a handle of the parent worked in the child")


def _begin(engine: Engine) -> None:
    with engine.lock:
        engine.begin()


def _in_child(engine: Engine, directory: str, sync: str) -> None:
    _refuses(engine.check_open)
    _refuses(lambda: engine.append(engine.streams[A], b"from the child", 0))
    _refuses(lambda: _begin(engine))
    _refuses(engine.flush)
    engine.close()
    try:
        open_store(directory, sync)
    except StoreLockedError as error:
        if error.owner_pid != os.getppid():
            raise AssertionError(f"locked by {error.owner_pid}, not by the parent") from error
    else:
        raise AssertionError("the child took the parent's lock")
    gc.collect()


def _still_locked(directory: str, sync: str) -> None:
    try:
        open_store(directory, sync)
    except StoreLockedError:
        return
    raise AssertionError("the lock was lost")


def main(directory: str, sync: str) -> None:
    """Fork while other threads append; the parent goes on as if nothing had happened."""
    engine = open_store(directory, sync)
    prepare(engine)
    stop = Event()
    done = [0]

    def work() -> None:
        while not stop.is_set():
            do_commit(engine, done[0] + 1)
            done[0] += 1

    thread = Thread(target=work)
    thread.start()
    for _ in range(ROUNDS):
        _forked(lambda: _in_child(engine, directory, sync))
        _still_locked(directory, sync)
    stop.set()
    thread.join()
    engine.flush()
    engine.close()
    # A process that was forked while the store was open does not keep it locked after the parent closed it.
    check_store(directory, sync, least=done[0], most=done[0])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
