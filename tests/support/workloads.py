"""Small stores with eventful lives: each workload drives a `Script` from its first opening on.

They are short, for their price is paid at every crash point, and together they do everything an engine does.
"""

from collections.abc import Callable

from support.session import Script

Workload = Callable[[Script], None]


def appends(script: Script) -> None:
    """Single records, with and without a key, small ones and some that are larger than a sector or a page."""
    script.open()
    script.commit(("create", "a"))
    for size in (10, 10, 600, 1, 0):
        script.append("a", size)
    script.append("a", 30, key=b"k")
    script.flush()
    script.append("a", 5000)
    script.append("a", 10)
    script.close()


def transactions(script: Script) -> None:
    """Commits over several streams with events, some of them not waited for."""
    script.open()
    script.commit(("create", "a"), ("create", "b"), ("event",))
    script.commit(("append", "a", 10), ("append", "b", 10, 20), ("event",))
    script.commit(("append", "a", 10, 10), wait=False)
    script.commit(("append", "b", 700, 3, 5), ("event",), ("event",), wait=False)
    script.commit(("append", "a", 10), ("append", "b", 10), ("append", "a", 11), ("event",))
    script.flush()
    script.commit(("append", "b", 10), ("event",), wait=False)
    script.commit(("append", "a", 10), ("append", "b", 10))


def rolls_and_trims(script: Script) -> None:
    """Segments come and go, streams too."""
    script.open()
    script.commit(("create", "a"), ("create", "b"))
    for step in range(5):
        script.commit(("append", "a", 300, 20), ("append", "b", 30 * step))
    script.commit(("trim", "a", 3), ("event",))
    script.commit(("append", "a", 400), ("append", "a", 400), ("append", "a", 400))
    script.commit(("trim", "a", 8), ("trim", "b", 2))
    script.commit(("delete", "b"), ("append", "a", 10))
    script.flush()
    script.commit(("create", "b"))
    script.commit(("append", "b", 50), ("append", "a", 50), ("trim", "a", 13))
    script.roll("a")
    script.append("a", 50)
    script.close()


def rewriting(script: Script) -> None:
    """Compaction of sealed segments, among commits and after a trim."""
    script.open()
    script.commit(("create", "a"), ("event",))
    for _ in range(4):
        script.commit(("append", "a", 150, 150, 150))
    script.rewrite("a")
    script.commit(("append", "a", 200, 200), ("event",))
    script.flush()
    script.commit(("trim", "a", 5))
    for _ in range(2):
        script.commit(("append", "a", 400, 400))
    script.rewrite("a")
    script.append("a", 10)
    script.close()


def lives(script: Script) -> None:
    """Several openings, ended by close and by death."""
    script.open()
    script.commit(("create", "a"))
    script.append("a", 20)
    script.close()
    script.open()
    script.append("a", 20)
    script.commit(("append", "a", 20), ("event",))
    script.kill()
    script.open()
    script.append("a", 20)
    script.kill()
    script.open()
    script.kill()
    script.open()
    script.commit(("append", "a", 20), ("event",), wait=False)
    script.append("a", 20)
    script.close()


def many_commits(script: Script) -> None:
    """Enough commits for drafts, state snapshots, and journal areas that fill up and grow."""
    script.open()
    script.commit(("create", "a"), ("create", "b"))
    for step in range(14):
        script.commit(("append", "a", 100 + step), ("event",))
        script.append("b", 60)
    script.commit(("append", "a", 9000))
    script.append("b", 10)
    script.kill()
    script.open()
    script.append("b", 10)
    script.close()


def modes(script: Script) -> None:
    """One store in all three modes, one after the other."""
    script.open()
    script.commit(("create", "a"), ("event",))
    for sync in ("none", "commit", "interval", "commit"):
        script.append("a", 20)
        script.commit(("append", "a", 20, 20), ("event",))
        if sync == "interval":
            script.kill()
        else:
            script.close()
        script.open(sync)
    script.append("a", 20)
    script.kill()
    script.open("none")
    script.append("a", 20)
    script.close()


WORKLOADS: tuple[Workload, ...] = (
    appends,
    transactions,
    rolls_and_trims,
    rewriting,
    lives,
    many_commits,
    modes,
)
