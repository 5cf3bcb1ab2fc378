"""Direct reply-to: answers that go straight to who waits for them, through no queue and no file.

Used under the broker's lock. Imported by the virtual host, by requests and by channels.
"""

import os
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any, Final

REPLY_TO: Final = "amq.rabbitmq.reply-to"
REPLY_PREFIX: Final = REPLY_TO + "."


class Replies:
    """Who waits for answers: addresses, each with what takes an answer (a publication)."""

    def __init__(self) -> None:
        self._takers: dict[str, Callable[[Any], None]] = {}

    def open(self, take: Callable[[Any], None]) -> str:
        """Return a new address; what is published to it is given to `take`, under the lock."""
        address = REPLY_PREFIX + urlsafe_b64encode(os.urandom(16)).rstrip(b"=").decode()
        self._takers[address] = take
        return address

    def close(self, address: str) -> None:
        """Forget an address; an unknown one is no error."""
        self._takers.pop(address, None)

    def knows(self, address: str) -> bool:
        """Whether somebody waits at an address."""
        return address in self._takers

    def send(self, address: str, publication: Any) -> bool:
        """Give an answer to who waits at an address; return False when nobody does."""
        take = self._takers.get(address)
        if take is None:
            return False
        take(publication)
        return True
