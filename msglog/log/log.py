"""The public class of the log, put together from its parts.

Exported by `msglog`; imported by the layers above.
"""

from msglog.log.appending import Appending
from msglog.log.cleaning import Cleaning
from msglog.log.exporting import Exporting
from msglog.log.grouping import Grouping
from msglog.log.producer import Producer


class Log(Appending, Exporting, Cleaning, Grouping):
    """Topics of append-only partitions, in the shape of Kafka's, in one directory or in memory.

    Arguments:
        path_or_store: the path of a store, `":memory:"`, or an open `Store`. A log made from a path owns its
            store and closes it; one made from a store does not.
        store_options: what `Store` takes, with a path only.

    Raises what `Store` raises. Safe for any number of threads; a context manager. The objects it makes say
    themselves how many threads may use them.
    """

    def producer(self, name: str) -> Producer:
        """Become the holder of a producer's name and fence the one before, durably.

        `name`: any str of 1 to 255 printable characters. What the name has written stays known. Raises
        `InvalidNameError`, `ReadOnlyError`, `ClosedError`, `DiskFullError`.
        """
        self._check_writable()
        return Producer(self._core, name)
