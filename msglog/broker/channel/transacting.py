"""The part of `Channel` that commits what a transaction put off, or forgets it.

Imported by `channel`.
"""

from msglog.broker.channel.publishing import Publishing
from msglog.broker.channel.transactions import ChannelTransaction
from msglog.broker.rules.names import described
from msglog.broker.settling import add_settlements, write
from msglog.broker.vhost import Publication
from msglog.errors import PreconditionFailedError, UnroutableError


class Transacting(Publishing):
    """`tx_select`, `tx_commit`, `tx_rollback`."""

    def tx_select(self) -> None:
        """Put off what is published and settled on this channel until `tx_commit`. Calling again does nothing.

        Raises `PreconditionFailedError` in confirm mode.
        """
        with self._use:
            session = self._session
            if session.confirms is not None:
                raise PreconditionFailedError("cannot switch from confirm to tx mode")
            if session.transaction is None:
                session.transaction = ChannelTransaction()

    def tx_commit(self) -> None:
        """Publish and settle all that was put off, in one commit: all of it happens, or nothing.

        Returns once it is durable as the store's `sync` promises, if something persistent was published. Mandatory
        messages that no queue gets come as `Returned`. Raises `PreconditionFailedError` without `tx_select`, and when a
        full queue refuses a message; `ExchangeNotFoundError` when an exchange was deleted meanwhile,
        `TransactionTooLargeError`, `DiskFullError`, and `StoreFailedError` (outcome unknown).
        """
        with self._use:
            vhost, session = self._vhost, self._session
            transaction = self._transaction()
            returned: list[tuple[Publication, UnroutableError]] = []
            settlements = [settlement for _, settlement in transaction.settlements]
            with vhost.lock:
                session.check_open()
                batch = vhost.batch()
                for publication, mandatory in transaction.publications:
                    try:
                        published = vhost.add_similar(batch, publication, mandatory=mandatory)
                    except UnroutableError as error:
                        returned.append((publication, error))
                        continue
                    for name in published.refused:
                        raise PreconditionFailedError(f"{described('queue', name)} is full: nothing was committed")
                number = write(vhost, batch, add_settlements(vhost, batch, settlements))
                transaction.clear()
                session.forget(settlements)
                for publication, unroutable in returned:
                    self._return(publication, unroutable)
                vhost.attend()
            vhost.wait_and_attend(number)

    def tx_rollback(self) -> None:
        """Forget what was published and settled since the last commit; the deliveries can be settled again.

        Raises `PreconditionFailedError` without `tx_select`.
        """
        with self._use:
            transaction = self._transaction()
            with self._vhost.lock:
                self._session.restore(transaction.clear())
