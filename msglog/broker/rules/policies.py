"""Policies: options given to queues and exchanges from outside, by the pattern of their names.

One policy at most applies to each, the matching one of highest priority, and it applies to what is there already
as well as to what comes. Imported by the broker.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

from msglog.broker.rules.exchange_options import ExchangeOptions
from msglog.broker.rules.names import Kind
from msglog.broker.rules.option_checks import QUEUE_KEYWORDS, check_alternate
from msglog.broker.rules.queue_arguments import QueueType
from msglog.broker.rules.queue_options import QueueOptions
from msglog.checks import MAX_INT64, check_choice, check_integer, refused, show, wrong_type
from msglog.errors import InvalidNameError, InvalidOptionError

ApplyTo = Literal["all", "queues", "exchanges", "classic_queues", "quorum_queues"]


@dataclass(frozen=True, slots=True)
class Policy:
    """A checked policy; `definition` has RabbitMQ's names for its keys."""

    name: str
    pattern: str
    definition: Mapping[str, Any]
    priority: int = 0
    apply_to: ApplyTo = "all"

    def matches(self, name: str, kind: Kind, queue_type: QueueType | None = None) -> bool:
        """Whether the policy is for a queue or exchange of this name; `queue_type` is for queues."""
        wanted: tuple[str, ...] = (
            ("all", "exchanges") if kind == "exchange" else ("all", "queues", f"{queue_type}_queues")
        )
        return self.apply_to in wanted and re.search(self.pattern, name) is not None


def check_policy(
    name: str, pattern: str, definition: Mapping[str, Any], *, priority: int = 0, apply_to: str = "all"
) -> Policy:
    """Return the policy when it can be one.

    `pattern` is a regular expression that is searched in names: anchor it with ^ and $. `definition` takes RabbitMQ's
    keys (`message-ttl`) or the keywords of declarations (`message_ttl_ms`). Of several matching policies the one of
    highest `priority` applies. Raises `InvalidNameError`, `InvalidOptionError` or `InvalidTypeError`.
    """
    if not isinstance(name, str) or not name:
        allowed = "a str that is not empty"
        raise InvalidNameError(f"{show(name)} names no policy; allowed: {allowed}", name=name, allowed=allowed)
    check_integer("priority", priority, -MAX_INT64, MAX_INT64)
    check_choice("apply_to", apply_to, get_args(ApplyTo))
    _check_pattern(pattern)
    if not isinstance(definition, Mapping):
        raise wrong_type("definition", definition, "a dict of keys and values")
    return Policy(name, pattern, _checked_definition(definition), priority, apply_to)  # type: ignore[arg-type] # a choice


def best_policy(
    policies: Iterable[Policy], name: str, kind: Kind, queue_type: QueueType | None = None
) -> Policy | None:
    """Return the policy that applies to the queue or exchange; of equal ones the first by name."""
    matching = (policy for policy in policies if policy.matches(name, kind, queue_type))
    return min(matching, key=lambda policy: (-policy.priority, policy.name), default=None)


def effective_queue_options(options: QueueOptions, policy: Policy | None) -> QueueOptions:
    """Return what holds for a queue that was declared with `options`.

    Of two limits or times to live the smaller counts; for the overflow and dead-letter settings what the queue was
    declared with goes before the policy. The arguments stay the declared ones.
    """
    definition = {} if policy is None else policy.definition
    changes: dict[str, Any] = {}
    for key, value in definition.items():
        name = _QUEUE_KEYS.get(key)
        if name is None:
            continue
        declared = getattr(options, name)
        if name == "delivery_limit":
            changes[name] = _delivery_limit(options, value)
        elif name in _LIMITS:
            changes[name] = value if declared is None else min(declared, value)
        elif QUEUE_KEYWORDS[name].argument not in options.arguments:
            changes[name] = value
    return replace(options, **changes) if changes else options


def effective_alternate(options: ExchangeOptions, policy: Policy | None) -> str | None:
    """Return the alternate exchange: the declared one, else the policy's."""
    if options.alternate_exchange is not None or policy is None:
        return options.alternate_exchange
    alternate: str | None = policy.definition.get(_ALTERNATE_KEY)
    return alternate


def pack_policy(policy: Policy) -> list[Any]:
    """Return the policy as msgpack can hold it."""
    return [policy.name, policy.pattern, dict(policy.definition), policy.priority, policy.apply_to]


def unpack_policy(packed: Iterable[Any]) -> Policy:
    """Return the policy from what `pack_policy` made of it, checked as when it was set."""
    name, pattern, definition, priority, apply_to = packed
    return check_policy(name, pattern, definition, priority=priority, apply_to=apply_to)


def _delivery_limit(options: QueueOptions, limit: int) -> int | None:
    """Return the smaller limit of queue and policy. The default of quorum queues is nobody's wish, and gives way."""
    declared = options.delivery_limit
    if options.queue_type == "quorum" and "x-delivery-limit" not in options.arguments:
        declared = None
    limits = [each for each in (declared, limit) if each is not None and each >= 0]
    return min(limits, default=None)


def _check_pattern(pattern: object) -> None:
    allowed = "a regular expression"
    if not isinstance(pattern, str):
        raise wrong_type("pattern", pattern, allowed)
    try:
        re.compile(pattern)
    except re.error as error:
        raise refused("pattern", pattern, f"{allowed} ({error})") from None


def _checked_definition(definition: Mapping[str, Any]) -> dict[str, Any]:
    if not definition:
        raise InvalidOptionError(
            f"definition is empty; allowed: {_ALLOWED_KEYS}", option="definition", given="{}", allowed=_ALLOWED_KEYS
        )
    result: dict[str, Any] = {}
    for given, value in definition.items():
        key = _KEYS.get(given)
        if key is None:
            raise refused("key of definition", given, _ALLOWED_KEYS)
        option = f"definition[{given!r}]"
        name = _QUEUE_KEYS.get(key)
        check = check_alternate if name is None else QUEUE_KEYWORDS[name].check
        if result.setdefault(key, check(option, value)) != value:
            raise refused(option, value, f"the same as definition[{key!r}]")
    return result


_ALTERNATE_KEY: Final = "alternate-exchange"
_LIMITS: Final = frozenset({"message_ttl_ms", "expires_ms", "max_length", "max_length_bytes"})
# RabbitMQ's keys of policies for queues, and the options they stand for: the arguments without "x-".
_QUEUE_KEYS: Final[dict[str, str]] = {
    QUEUE_KEYWORDS[name].argument.removeprefix("x-"): name
    for name in (*sorted(_LIMITS), "overflow", "dead_letter_exchange", "dead_letter_routing_key", "delivery_limit")
}
# Every spelling of a key, to RabbitMQ's.
_KEYS: Final[dict[object, str]] = {
    **{key: key for key in _QUEUE_KEYS},
    **{name: key for key, name in _QUEUE_KEYS.items()},
    _ALTERNATE_KEY: _ALTERNATE_KEY,
    "alternate_exchange": _ALTERNATE_KEY,
}
_ALLOWED_KEYS: Final = ", ".join((*_QUEUE_KEYS, _ALTERNATE_KEY))
