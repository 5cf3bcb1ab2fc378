"""The part of `Channel` that settles deliveries: acknowledging, returning, dead-lettering.

One is settled by hand, several in one commit; in a transaction it is put off. Imported by `channel`.
"""

from msglog.broker.channel.base import ChannelBase
from msglog.broker.channel.consumers import ChannelConsumer
from msglog.broker.settling import Outcome, Settlement
from msglog.checks import check_flag
from msglog.errors import NotSupportedError, UnknownDeliveryTagError


class Acknowledging(ChannelBase):
    """`basic_ack`, `basic_nack`, `basic_reject`, `basic_recover`."""

    def basic_ack(self, delivery_tag: int = 0, *, multiple: bool = False) -> None:
        """Settle a delivery: the message is done with.

        `multiple`: all unsettled ones up to this tag; tag 0: all there are. Settling never waits: it is written when it
        returns, and synced with the next sync. In a transaction it is put off. Raises `UnknownDeliveryTagError`,
        `InvalidTypeError`.
        """
        with self._guard:
            session, vhost = self._session, self._vhost
            if multiple or session.transaction is not None or type(delivery_tag) is not int:
                self._settle(delivery_tag, "ack", multiple=multiple)
                return
            with vhost.lock:
                unsettled = session.unsettled
                found = unsettled.get(delivery_tag)
                if found is None:
                    session.check_open()
                    raise UnknownDeliveryTagError(f"unknown delivery tag {delivery_tag}", delivery_tag=delivery_tag)
                subscriber, taken = found
                queue = subscriber.queue
                if not queue.deleted:
                    vhost.settle(taken[0], subscriber, taken[1][0])
                del unsettled[delivery_tag]
                if type(subscriber) is ChannelConsumer:
                    session.pushed -= 1
                    if session.limit:
                        session.rejoin(session.consumers.values())
                    elif not subscriber.in_line and subscriber.may_take():
                        queue.join_line(subscriber)
                        vhost.news[queue] = None
                if vhost.news or vhost.has_abandoned:
                    vhost.attend()

    def basic_nack(self, delivery_tag: int = 0, *, multiple: bool = False, requeue: bool = True) -> None:
        """Give a delivery back to its place in the queue, or without `requeue` dead-letter it.

        `multiple` and the rest as for `basic_ack`.
        """
        with self._use:
            self._settle(delivery_tag, "requeue" if check_flag("requeue", requeue) else "reject", multiple=multiple)

    def basic_reject(self, delivery_tag: int, *, requeue: bool = True) -> None:
        """Give one delivery back to its place in the queue, or without `requeue` dead-letter it.

        Raises as `basic_ack` does.
        """
        with self._use:
            self._settle(delivery_tag, "requeue" if check_flag("requeue", requeue) else "reject", multiple=False)

    def basic_recover(self, *, requeue: bool = True) -> None:
        """Give all unsettled deliveries of the channel back to their queues. Raises `NotSupportedError` else."""
        with self._use:
            if not check_flag("requeue", requeue):
                raise NotSupportedError("requeue=false")
            session = self._session
            with self._vhost.lock:
                self._settle_found(list(session.unsettled), "requeue")

    def _settle(self, tag: int, outcome: Outcome, *, multiple: bool) -> None:
        session = self._session
        check_flag("multiple", multiple)
        with self._vhost.lock:
            session.check_open()
            found = session.find(tag, multiple=multiple)
            if session.transaction is None:
                self._settle_found(found, outcome)
            else:
                self._take_out(found, outcome, session.transaction.settlements)

    def _take_out(self, tags: list[int], outcome: Outcome, settlements: list[tuple[int, Settlement]]) -> None:
        """Move deliveries from the unsettled ones. An interrupt leaves none of them in neither place."""
        unsettled = self._session.unsettled
        for tag in tags:
            settlements.append((tag, Settlement(*unsettled[tag], outcome)))
            del unsettled[tag]

    def _settle_found(self, tags: list[int], outcome: Outcome) -> None:
        """Settle deliveries now. Under the lock."""
        session = self._session
        settlements: list[tuple[int, Settlement]] = []
        unseen = () if outcome == "ack" else tags
        try:
            self._take_out(tags, outcome, settlements)
            session.settle([settlement for _, settlement in settlements], unseen)
        except BaseException:
            session.restore_unsettled(settlements)
            session.forget_unseen(unseen)
            raise
