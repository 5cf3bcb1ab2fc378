"""Which names topics and groups may have.

Imported by the log wherever a name comes in from outside, before it is stored.
"""

import re
from typing import Final

from msglog.errors import InvalidNameError

MAX_TOPIC_NAME_LENGTH: Final = 249
MAX_GROUP_NAME_LENGTH: Final = 255

_TOPIC_NAME: Final = re.compile(r"[a-zA-Z0-9._-]+")
# Surrogates are refused with the control characters because a name must survive UTF-8.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_TOPIC_ALLOWED: Final = f"1 to {MAX_TOPIC_NAME_LENGTH} of a-z A-Z 0-9 . _ -, but not '.' or '..'"
_GROUP_ALLOWED: Final = f"a str of 1 to {MAX_GROUP_NAME_LENGTH} characters without control characters"
_SHOWN_LENGTH: Final = 60


def check_topic_name(name: object) -> str:
    """Return `name` as a plain str when a topic may be called so (Kafka's rule for topics).

    Raises `InvalidNameError` with what was given and what is allowed.
    """
    if (
        not isinstance(name, str)
        or len(name) > MAX_TOPIC_NAME_LENGTH
        or name in (".", "..")
        or _TOPIC_NAME.fullmatch(name) is None
    ):
        raise _refusal("topic", name, _TOPIC_ALLOWED)
    return _plain(name)


def check_group_name(name: object) -> str:
    """Return `name` as a plain str when a consumer group may be called so.

    Kafka takes any string; msglog bounds its length and refuses what cannot be printed or stored as UTF-8.
    Raises `InvalidNameError` with what was given and what is allowed.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_GROUP_NAME_LENGTH or _UNPRINTABLE.search(name):
        raise _refusal("group", name, _GROUP_ALLOWED)
    return _plain(name)


def _plain(name: str) -> str:
    """Return a str that is nothing more: a member of an enumeration is another key than what is stored of it."""
    return name if type(name) is str else str.__str__(name)


def _refusal(kind: str, name: object, allowed: str) -> InvalidNameError:
    shown = repr(name)
    if len(shown) > _SHOWN_LENGTH:
        shown = f"{shown[:_SHOWN_LENGTH]}... ({len(shown)} characters)"
    return InvalidNameError(f"{shown} is not a {kind} name; allowed: {allowed}", name=name, allowed=allowed)
