"""Publisher confirms: sequence numbers, and what still waits for its sync.

Confirms are made in the order of the messages. Those that come together are one entry of the inbox, and neighbours that
are acknowledged one event; a return ends the entry, so it is told before the confirm of its message. A number is
counted, and told, with the one step that puts it in its place: an interrupt comes before both or after. Used by the
channel's thread alone. Imported by the channel.
"""

from collections import deque

from msglog.broker.channel.events import Confirmed
from msglog.broker.channel.inbox import Inbox


class Confirms:
    """The confirms of one channel."""

    __slots__ = ("_group", "_inbox", "_pending", "_told", "refused")

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        # The entry of the inbox that takes more confirms while it is not empty.
        self._group: list[Confirmed] = []
        # Sequence number, commit that it waits for, whether it was taken over.
        self._pending: deque[tuple[int, int, bool]] = deque()
        # The sequence number that was confirmed last.
        self._told = 0
        # Whether a message was refused since somebody last asked.
        self.refused = False

    def add(self, commit: int, *, ack: bool) -> int:
        """Count one more message, confirmed when `commit` is synced (0: now); return its sequence number."""
        pending = self._pending
        sequence = self._told + 1
        if pending and pending[-1][0] >= sequence:  # else an interrupt left there what is told already
            sequence = pending[-1][0] + 1
        if not ack:
            self.refused = True
        if commit or pending:
            pending.append((sequence, commit, ack))
            self._inbox.announce()  # whoever listens polls, and polling syncs
        else:
            self._tell(sequence, ack=ack)
        return sequence

    def is_waiting(self) -> bool:
        """Whether a message is unconfirmed."""
        return bool(self._pending)

    def awaited(self) -> int:
        """Return the commit that the last unconfirmed message waits for, 0 for none."""
        return max((commit for _, commit, _ in self._pending), default=0)

    def synced(self, commit: int) -> None:
        """Confirm what waited for commits up to this one."""
        pending = self._pending
        while pending and pending[0][1] <= commit:
            sequence, _, ack = pending[0]
            if sequence > self._told:  # else an interrupt came before it was taken out
                self._tell(sequence, ack=ack)
            pending.popleft()

    def end_group(self) -> None:
        """Have later confirms come after what is put into the inbox now."""
        self._group = []

    def _tell(self, sequence: int, *, ack: bool) -> None:
        group = self._group
        if not group:
            group = [Confirmed(sequence, multiple=False, ack=ack)]
            self._group, self._told = group, sequence
            self._inbox.entries.append(group)
        elif ack and group[-1].ack:
            event = Confirmed(sequence, multiple=True, ack=True)
            group[-1], self._told = event, sequence
        else:
            event = Confirmed(sequence, multiple=False, ack=ack)
            self._told = sequence
            group.append(event)
        self._inbox.announce()
