"""Collecting, deciding and looping in C, in front of the Python methods where compiled; see `msglog.compiled`.

Collecting: records, messages, acknowledgements and offsets without options go the compiled way. Deciding: what both
stages do with those under the locks, up to the commit with their batches. Looping: what tasks await. Imported by the
package.
"""

import sys
from collections.abc import Iterator
from inspect import unwrap
from pathlib import Path
from typing import Any

from msglog.broker import Delivery
from msglog.broker.batch import Batch as BrokerBatch
from msglog.broker.delivery import Terms
from msglog.broker.lane import Lane, Stored
from msglog.broker.model import BrokerModel
from msglog.broker.queue import Queue
from msglog.broker.settling import Settled, Settlement
from msglog.broker.staging import BrokerStage, Wish
from msglog.broker.subscriber import Subscriber, Taken
from msglog.broker.vhost import PERSISTENT, Publication, Route, VirtualHost
from msglog.compiled import is_made_of, is_wanted
from msglog.cursors import Cursor, CursorModel
from msglog.log.batches import Batch
from msglog.log.coordination import Coordination
from msglog.log.group_offsets import StagedOffsets
from msglog.log.groups import GroupsModel
from msglog.log.rules.names import MAX_GROUP_NAME_LENGTH
from msglog.log.staging import Append, LogStage
from msglog.log.topic import Topic
from msglog.storage import Body, Commit, Engine, Stream
from msglog.storage.frame import HEADER_SIZE, KIND_KEYED, KIND_PLAIN
from msglog.storage.options import MAX_COMMIT_BYTES
from msglog.transactions import looping, scope
from msglog.transactions.collecting import NEW, OPEN, Collecting
from msglog.types import TopicPartition

try:
    from msglog.transactions import _compiled_collecting, _compiled_deciding, _compiled_looping
except ImportError:
    _compiled_collecting = _compiled_deciding = _compiled_looping = None  # type: ignore[assignment]

COLLECTING = Path(__file__).with_name("_compiled_collecting.c")
DECIDING = Path(__file__).with_name("_compiled_deciding.c")
LOOPING = Path(__file__).with_name("_compiled_looping.c")
Ways = Iterator[tuple[Any, str, Any]]


def is_compiled() -> bool:
    """Return whether the compiled methods are there, and not left over from another version of their sources."""
    return (
        _compiled_collecting is not None
        and is_made_of(_compiled_collecting, COLLECTING)
        and is_made_of(_compiled_deciding, DECIDING)
        and is_made_of(_compiled_looping, LOOPING)
    )


def put_in_front() -> None:
    """Let calls of the methods go to the compiled ones first, where those are there and wanted."""
    if is_compiled() and is_wanted():
        for ways in (
            ways_of_collecting(_compiled_collecting),
            ways_of_deciding(_compiled_deciding),
            ways_of_looping(_compiled_looping),
        ):
            for owner, name, method in ways:
                setattr(owner, name, method)


def ways_of_collecting(module: Any) -> Ways:
    """Yield the methods of a compiled module, each with the class and the name of the Python method it precedes."""
    classes = (
        Collecting,
        Engine,
        LogStage,
        BrokerStage,
        Topic,
        Batch,
        Body,
        Route,
        BrokerModel,
        Delivery,
        Terms,
        Queue,
        VirtualHost,
        Append,
        Publication,
        Wish,
        Taken,
        Settlement,
        TopicPartition,
        StagedOffsets,
    )
    limits = (HEADER_SIZE, MAX_COMMIT_BYTES, MAX_GROUP_NAME_LENGTH)
    module.set_up(classes, NEW, OPEN, scope.here, sys.modules, PERSISTENT, KIND_PLAIN, KIND_KEYED, *limits)
    yield Collecting, "__init__", module.before_init(unwrap(Collecting.__init__))
    yield Collecting, "append", module.before_append(unwrap(Collecting.append))
    yield Collecting, "publish", module.before_publish(unwrap(Collecting.publish))
    yield Collecting, "ack", module.before_ack(unwrap(Collecting.ack))
    yield Collecting, "commit_offsets", module.before_commit_offsets(unwrap(Collecting.commit_offsets))


def ways_of_deciding(module: Any) -> Ways:
    """Yield the same for what is done under the locks."""
    classes = (
        BrokerStage,
        LogStage,
        Engine,
        Commit,
        Stream,
        Topic,
        Batch,
        BrokerBatch,
        Settled,
        VirtualHost,
        BrokerModel,
        Route,
        Lane,
        Cursor,
        Subscriber,
        Queue,
        Body,
        Append,
        StagedOffsets,
        Wish,
        Settlement,
        Taken,
        Stored,
        TopicPartition,
        Coordination,
    )
    module.set_up(classes, CursorModel.section, GroupsModel.section, KIND_PLAIN, KIND_KEYED)
    yield BrokerStage, "decide", module.before_decide(unwrap(BrokerStage.decide))
    yield LogStage, "fill", module.before_fill_of_log(unwrap(LogStage.fill))
    yield BrokerStage, "fill", module.before_fill_of_broker(unwrap(BrokerStage.fill))


def ways_of_looping(module: Any) -> Ways:
    """Yield the same for the functions that make and end what tasks await."""
    yield looping, "new_wait", module.before_new_wait(unwrap(looping.new_wait))
    yield looping, "end_waits", module.before_end_waits(unwrap(looping.end_waits))
