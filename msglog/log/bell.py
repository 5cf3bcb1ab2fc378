"""What makes a consumer look up from the records in its hand: a flag beside the thing it sleeps on.

Whoever changes something a consumer must react to rings its bell: a rebalance, a new or deleted topic,
`stop()`, the end of the store. Imported by the consumer and by the groups' coordination.
"""

from msglog.waiting import Wakeable


class Bell:
    """A flag that is seen while working and wakes while waiting. Ringing twice does what ringing once does.

    `ring` takes no lock and so may be called from any thread, a signal handler and a finalizer. Who answers
    sets `rung` to False first and looks around afterwards: what rings meanwhile is then not lost.
    """

    __slots__ = ("__weakref__", "rung", "waiter")

    def __init__(self, waiter: Wakeable) -> None:
        self.rung = False
        self.waiter = waiter

    def ring(self) -> None:
        """Set the flag and wake who waits."""
        self.rung = True
        self.waiter.wake()
