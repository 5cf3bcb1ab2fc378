"""The row of a whole store: what `info` shows. Imported by the commands."""

import contextlib
from pathlib import Path
from typing import Any, Final

from msglog.broker.vhost import VirtualHost
from msglog.storage.frame import VERSION
from msglog.storage.layout import FAILED, JOURNALS, LOCK, QUARANTINE
from msglog.store import Store

_AMQ: Final = "amq."


def store_row(store: Store) -> dict[str, Any]:
    """Return what is known of a store from outside."""
    directory = Path(store.path)
    files = [path for path in directory.rglob("*") if path.is_file()]
    engine = store.core.engine
    alive = engine.writer_is_alive()
    recovery = store.recovery
    described = [store.log.describe_topic(name) for name in store.log.topics()]
    partitions = [partition for topic in described for partition in topic.partitions]
    vhost = VirtualHost.of(store.core)
    return {
        "path": store.path,
        "format": VERSION,
        "bytes_on_disk": sum(_size(path) for path in files),
        "bytes_stored": int(store.metrics()["bytes_stored"]),
        "files": len(files),
        "writer_pid": _pid(directory / LOCK) if alive else None,
        "written_now": alive,
        "journal": any((directory / name).exists() for name in JOURNALS),
        "commit": engine.published,
        "closed_cleanly": None if alive else recovery.clean,
        "replayed_commits": None if alive else recovery.replayed_commits,
        "cut_bytes": None if alive else recovery.cut_bytes,
        "failed": (directory / FAILED).exists(),
        "quarantined": sum(path.is_file() for path in (directory / QUARANTINE).glob("*")),
        "topics": len(described),
        "partitions": len(partitions),
        "records": sum(one.end_offset - one.start_offset for one in partitions),
        "groups": len(store.log.groups()),
        "exchanges": sum(not one.name.startswith(_AMQ) for one in store.broker.exchanges()),
        "bindings": len(store.broker.bindings()),
        "queues": len(vhost.queues),
        "messages": sum(queue.ready() + queue.unsettled() for queue in list(vhost.queues.values())),
        "policies": len(vhost.model.policies),
    }


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):  # the writer has unlinked it since
        return path.stat().st_blocks * 512
    return 0


def _pid(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return None
