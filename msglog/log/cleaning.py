"""The part of `Log` that cleans on demand. Imported by `log`."""

from msglog.log.admin import TopicAdmin
from msglog.types import CleanReport


class Cleaning(TopicAdmin):
    """`clean`."""

    def clean(self, topic: str | None = None) -> CleanReport:
        """Apply retention and compaction now, to one topic or to all, and tell what was removed.

        Retention removes whole segments: all but the newest, and the newest too when all of it is too old.
        Compaction keeps the last record of each key, in its place, and tombstones for `delete_retention_ms`
        after the first clean that saw them. It waits for no dirty ratio, and includes what was appended just
        before: the active segment is sealed first. Only `min_compaction_lag_ms` still holds records back.
        Without a call the same happens every five minutes of the store's clock where Kafka would do it.

        Raises `TopicNotFoundError`, `InvalidTypeError`, `ReadOnlyError`, `ClosedError`, `DiskFullError`,
        `CorruptionError`. Records are counted by their offsets. Cost grows with what is rewritten; other
        threads can read and append meanwhile.
        """
        self._check_writable()
        topics = list(self._model.topics.values()) if topic is None else [self._model.topic(topic)]
        return self._cleaning.cleaner.clean(topics, now_ms=self._core.clock.now_ms(), forced=True)
