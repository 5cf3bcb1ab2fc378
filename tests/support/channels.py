"""What the tests of channels share: short ways to see what a channel got, and to meet its errors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import msglog

REPLY_TO = "amq.rabbitmq.reply-to"


def publish_all(channel: msglog.Channel, queue: str, *bodies: bytes, **options: Any) -> None:
    """Publish each body to one queue."""
    for body in bodies:
        channel.basic_publish("", queue, body, **options)


def bodies(channel: msglog.Channel) -> list[bytes]:
    """Poll the channel, which must have nothing but deliveries, and return their bodies."""
    return [event.body for event in deliveries(channel)]


def deliveries(channel: msglog.Channel) -> list[msglog.Deliver]:
    """Poll the channel, which must have nothing but deliveries."""
    events = channel.poll()
    assert [event for event in events if not isinstance(event, msglog.Deliver)] == []
    return events


def get_all(channel: msglog.Channel, queue: str) -> list[msglog.GetOk]:
    """Get all that is ready, unsettled."""
    return list(iter(lambda: channel.basic_get(queue), None))


@contextmanager
def closing(channel: msglog.Channel, code: int, reply_text: str) -> Iterator[None]:
    """A block that must raise an error with this code and text and thereby close the channel."""
    with pytest.raises(msglog.MsglogError) as caught:
        yield
    assert (caught.value.reply_code, caught.value.reply_text) == (code, reply_text)
    assert not channel.is_open
    assert channel.error is caught.value
    with pytest.raises(msglog.ClosedError, match=r"^channel \d+ was closed: "):
        channel.basic_publish("", "q", b"")


@contextmanager
def refusing(channel: msglog.Channel, kind: type[msglog.MsglogError]) -> Iterator[None]:
    """A block that must raise an error and leave the channel open."""
    with pytest.raises(kind):
        yield
    assert channel.is_open


def after(action: Callable[[], object], channel: msglog.Channel) -> list[Any]:
    """Do something and return the events that came of it."""
    assert channel.poll() == []
    action()
    return channel.poll()
