"""Checks of what is passed to a consumer: partitions, timeouts, offsets to commit. Pure functions.

Imported by the parts of the consumer and by the subscription.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msglog.checks import check_integer, wrong_type
from msglog.types import Record, TopicPartition


def check_callback(option: str, given: Any) -> Callable[..., object] | None:
    """Return a callable or None. Raises `InvalidTypeError`, also for one whose call would do nothing."""
    if given is not None and not callable(given):
        raise wrong_type(option, given, "a callable or None")
    if any(
        inspect.iscoroutinefunction(one) or inspect.isgeneratorfunction(one) for one in (given, type(given).__call__)
    ):
        raise wrong_type(
            option, given, "a plain function or None, since the call of a coroutine or generator function does nothing"
        )
    callback: Callable[..., object] | None = given
    return callback


def check_partition(option: str, given: object) -> TopicPartition:
    """Return a (topic, partition) pair as a `TopicPartition`. Raises `InvalidTypeError`."""
    if type(given) is TopicPartition and type(given[0]) is str and type(given[1]) is int:
        return given
    if isinstance(given, tuple) and len(given) == len(TopicPartition._fields):
        topic, number = given
        if isinstance(topic, str) and isinstance(number, int) and not isinstance(number, bool):
            return TopicPartition(topic, number)
    raise wrong_type(option, given, "a TopicPartition")


def check_partitions(option: str, given: object) -> list[TopicPartition]:
    """Return each of several partitions once, in order. Raises `InvalidTypeError` for anything else."""
    if isinstance(given, str | bytes | TopicPartition) or not isinstance(given, Iterable):
        raise wrong_type(option, given, "an iterable of TopicPartition")
    return list(dict.fromkeys(check_partition(option, item) for item in given))


def check_offsets(option: str, given: object) -> dict[TopicPartition, int]:
    """Return the offsets to commit: those of a mapping, or the one after a record.

    Raises `InvalidTypeError`, and `InvalidOptionError` for a negative offset.
    """
    if isinstance(given, Record):
        return {TopicPartition(given.topic, given.partition): given.offset + 1}
    if type(given) is not dict and not isinstance(given, Mapping):  # asking an abstract class takes its time
        raise wrong_type(option, given, "None, a Record, or a mapping of TopicPartition to the next offset to read")
    checked: dict[TopicPartition, int] = {}
    for key, offset in given.items():
        if type(offset) is not int or offset < 0:
            check_integer(f"an offset in {option}", offset, 0)
        if type(key) is not TopicPartition or type(key[0]) is not str or type(key[1]) is not int:
            key = check_partition(option, key)  # noqa: PLW2901 it is what it should have been
        checked[key] = offset
    return checked
