"""Following a writer in another process: what a readonly engine does to see new commits.

The published page says up to which commit the store can be read. Frames behind the ends known so far are taken in
when their checksum, offset, life and commit fit; then the events that came with them are applied. When the page shows
another life, a new writer has recovered the store, and everything is loaded anew. The journal is never read, nothing
is ever written.
"""

from threading import Lock, get_ident
from typing import TYPE_CHECKING

from msglog.errors import CorruptionError
from msglog.storage.checkpoint import Checkpoint
from msglog.storage.layout import PUBLISHED
from msglog.storage.published import PublishedPage
from msglog.storage.replay import apply_events
from msglog.storage.state import STATE_STREAM
from msglog.storage.walk import TailWalk

if TYPE_CHECKING:
    from msglog.storage.engine import Engine


class Follower:
    """Keeps one readonly engine up to date. Safe from any thread.

    `_thread` is the one that follows now. It reads events meanwhile; where the writer has removed a segment under it,
    its reader asks to look again, and there is nothing to be seen: following goes on from that error, and loads anew.
    """

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._following = Lock()
        self._thread = 0
        self._page: PublishedPage | None = None
        self._life = 0

    def open_page(self) -> None:
        """Look at the page before the store is loaded, so that a later life is noticed."""
        path = self._engine.path(PUBLISHED)
        if PUBLISHED in self._engine.filesystem.list(self._engine.directory):
            self._page = PublishedPage.open(self._engine.filesystem, path, writable=False)
            self._life = self._page.life

    def refresh(self) -> None:
        """Take in what was published since."""
        engine = self._engine
        page = self._page
        if page is None or (page.commit == engine.published and page.life == self._life):
            return
        if self._thread == get_ident():
            return
        with self._following:
            try:
                self._thread = get_ident()
                self._catch_up(page)
            finally:
                self._thread = 0

    def _catch_up(self, page: PublishedPage) -> None:
        commit = page.commit
        if page.life != self._life or not self._follow(commit):
            self._life = page.life
            self._engine.load()
            self._engine.wake_all()

    def _follow(self, commit: int) -> bool:
        """Go on from what is known; return False when the writer has removed what lies between."""
        engine = self._engine
        state_end = engine.streams[STATE_STREAM].end
        parts = {stream.id: list(stream.parts) for stream in engine.streams.values()}
        try:
            walk = TailWalk(engine, self._base(), parts, with_draft=False)
            walk.run(limit=commit)
            if walk.commit < commit:
                return False
            engine.table.take_over_parts(walk.parts())
            apply_events(engine, state_end)
        except (CorruptionError, FileNotFoundError):
            return False
        engine.commit_number = engine.published = commit
        engine.table.garbage.clear()  # removing files is the writer's business
        engine.wake_all()
        return all(stream.start <= stream.end for stream in engine.streams.values())

    def _base(self) -> Checkpoint:
        """Return where the walk begins: at what was published before, in the life of the present writer."""
        published = self._engine.published
        return Checkpoint(
            sequence=0,
            commit=published,
            clean=False,
            lives=[(self._life, 0)],
            next_file_id=1,
            next_stream_id=1,
            state=(0, 0),
        )
