"""The virtual host: the broker of one open directory, shared by all `Broker` handles on it.

A service of the store: made when the store is opened, after the models are loaded, and closed before the engine.
Imported by `broker` and the classes that users hold.
"""

from threading import Lock

from msglog.broker.replies import Replies
from msglog.broker.vhost.declaring import Declaring
from msglog.cursors import CursorModel
from msglog.errors import MsglogError
from msglog.storage import forks
from msglog.store import StoreCore


class VirtualHost(Declaring):
    """Queues, exchanges and who uses them; see the parts in this package. Safe under `lock`."""

    name = "broker"

    def __init__(self, core: StoreCore) -> None:
        super().__init__(core)
        self.routes = {}
        self._open_buckets = {}
        self._delay_timer = None
        self.replies = Replies()
        forks.register(self)
        if not self.engine.readonly:
            with self.lock:
                self.remove_transient()
                self._begin()
            # What became due meanwhile must be seen before anything expires behind it; that is the second commit.
            self.wait_and_attend(self.engine.commit_number)
            self.wait_and_attend(self.engine.commit_number)

    @classmethod
    def of(cls, core: StoreCore) -> "VirtualHost":
        """Return the virtual host of an open directory."""
        vhost = core.services[cls.name]
        if not isinstance(vhost, cls):
            raise TypeError(f"the service {cls.name!r} is a {type(vhost).__name__}")
        return vhost

    def refuse_in_child(self) -> None:
        """In a forked child: the parent's threads are gone, perhaps with the lock, and its queues are not ours."""
        self.lock = Lock()
        self.closed = True

    def why_closed(self) -> str:
        """Return what to tell whoever finds it closed."""
        return forks.why_closed(self.engine)

    def _begin(self) -> None:
        """Release what is overdue, and have all queues looked after."""
        self.release_overdue()
        for queue in self.queues.values():
            self.touch(queue)
            self.watch_history(queue)
            if not queue.plain or queue.may_expire:
                self.news[queue] = None

    def close(self) -> None:
        """Note how far delivery came, so that the next opening knows what was delivered before; nothing more."""
        with self.lock:
            if self.closed:
                return
            self.closed = True
            for waiter in tuple(self.waiters):
                waiter.wake()
            for queue in self.queues.values():
                for taker in queue.line:
                    taker.wake()
            if self.engine.readonly or self.engine.closed:
                return
            batch = self.batch()
            for queue in self.queues.values():
                for lane in queue.lanes:
                    cursor = lane.cursor
                    if cursor.next > cursor.noted_next:
                        settled = cursor.settled
                        batch.record(CursorModel.section, ["settle", cursor.id, settled, settled, cursor.next])
            try:
                batch.write()
            except MsglogError:
                return  # the store has failed or is full: the next opening takes what it finds
