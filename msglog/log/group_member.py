"""A consumer's membership in its group, as a source of partitions.

    the group says            change         afterwards
    owned by now              "assign"       -
    revoke                    "revoke"       confirmed to the group, which gives the partitions to others
    lost                      "lost"         joins anew with the next look
    FencedError               "lost"         the error is raised by each further look

Imported by the consumer.
"""

from dataclasses import replace

from msglog.errors import FencedError
from msglog.log.assignment import Change, TopicSelection
from msglog.log.bell import Bell
from msglog.log.coordination import Coordination
from msglog.log.live_group import Seat
from msglog.log.rules.membership import NO_GENERATION, JoinRequest
from msglog.types import TopicPartition


class GroupMember:
    """One consumer's place in a group: joins at once, and again after it was evicted.

    `request` is made anew for each joining, since a member id is never used twice. Raises `GroupError` when
    the group's members use another assignor.
    """

    __slots__ = (
        "_bell",
        "_coordination",
        "_fenced",
        "_generation",
        "_group",
        "_held",
        "_now_ms",
        "_request",
        "_selection",
        "_topics_version",
        "seat",
    )

    def __init__(
        self,
        coordination: Coordination,
        selection: TopicSelection,
        group: str,
        request: JoinRequest,
        bell: Bell,
    ) -> None:
        self._coordination = coordination
        self._now_ms = coordination.now_ms
        self._selection = selection
        self._group = group
        self._request = request
        self._bell = bell
        self._held: set[TopicPartition] = set()
        # Only the words: the error itself would keep the frames it passed alive, and with them the consumer.
        self._fenced: str | None = None
        self._generation = NO_GENERATION
        self._topics_version = -1
        self.seat: Seat | None = None
        self._join()

    def next_change(self) -> Change | None:
        """Ask the group what to do; this is the member's poll.

        Raises `FencedError` when the member was fenced, once `lost` was answered for that.
        """
        if self._fenced is not None:
            if self._held:
                return Change("lost", frozenset(self._held))
            raise FencedError(self._fenced)
        seat = self.seat or self._join()
        try:
            self._follow_topics(seat)
            step = self._coordination.sync(seat)
        except FencedError as error:
            self._fenced = str(error)
            return self.next_change()
        if step.lost:
            return Change("lost", frozenset(self._held))
        new = seat.owned - self._held
        if new or seat.generation != self._generation:
            self._generation = seat.generation
            return Change("assign", new)
        return Change("revoke", step.revoke) if step.revoke else None

    def may_receive(self) -> bool:
        """Whether there is anything for this member to be had, or said; without it the next poll is soon enough."""
        return self.seat is None or self._coordination.may_receive(self.seat)

    def note_poll(self) -> bool:
        """Have this member polled up to now; return False when `next_change` must be asked.

        A sync for the price of a look at the clock. Takes no lock: who evicts it at this moment rings, and it is not
        overdue, since the group's timers speak for it while it waits in a poll.
        """
        seat = self.seat
        if seat is None:
            return False
        member = seat.member
        member.heartbeat_ms = member.poll_ms = self._now_ms()
        return True

    def done(self, change: Change) -> None:
        """Tell the group what was given up, and keep in mind what is held."""
        if change.kind == "assign":
            self._held |= change.partitions
            return
        self._held -= change.partitions
        if change.kind == "revoke" and self.seat is not None:
            self._coordination.revoked(self.seat, change.partitions)
        elif change.kind == "lost" and self._fenced is None:
            self.seat = None

    def still_owns(self) -> bool:
        """Whether the group still knows this member."""
        return self.seat is not None and self._fenced is None and self._coordination.is_member(self.seat)

    def leave(self) -> None:
        """Leave the group for good."""
        if self.seat is not None:
            self._coordination.leave(self.seat)
            self.seat = None

    def _join(self) -> Seat:
        member_id = self._coordination.new_member_id(self._request.instance_id)
        topics = self._selection.names()
        self._topics_version = self._coordination.topics_version
        self._generation = NO_GENERATION
        request = replace(self._request, member_id=member_id, topics=topics)
        self.seat = self._coordination.join(self._group, request, self._bell)
        return self.seat

    def look_again(self) -> None:
        """What is wanted has changed: tell the group with the next poll."""
        self._topics_version = -1

    def _follow_topics(self, seat: Seat) -> None:
        version = self._coordination.topics_version
        if version != self._topics_version:
            self._coordination.subscribe(seat, self._selection.names())
            self._topics_version = version
