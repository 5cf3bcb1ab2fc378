"""Mutations of what waits: calls of the log and the broker that return before their sync."""

from support.mutation.mutant import Mutation, cut, swap

_LOG, _BROKER = "calls of the log wait", "calls of the broker wait"

WAITS: tuple[Mutation, ...] = (
    cut("log/placing.py", "engine.wait(number)", _LOG, "an append does not wait"),
    cut("log/producer.py", "self._engine.wait(number)\n        if isinstance", _LOG, "a producer does not wait"),
    cut("log/producer.py", "self._engine.wait(number)\n        if self", _LOG, "taking a name does not wait"),
    cut("log/consumer.py", "self._engine.wait(number)", _LOG, "a commit of offsets does not wait"),
    cut("log/admin.py", "self._engine.wait(number)\n        if exists", _LOG, "creating a topic does not wait"),
    cut("log/admin.py", "self._engine.wait(number)\n        self._model", _LOG, "deleting a topic does not wait"),
    cut("log/admin.py", "self._engine.wait(number)\n\n    def alter", _LOG, "adding partitions does not wait"),
    cut(
        "log/admin.py",
        "self._engine.wait(number)\n        self._cleaning.reconsider()\n\n    def delete_records",
        _LOG,
        "altering a topic does not wait",
    ),
    cut("log/admin.py", "self._engine.wait(number)\n        if before_offset", _LOG, "delete_records does not wait"),
    cut(
        "log/cleaner.py",
        "self._engine.wait(number)\n        return CleanReport(records",
        _LOG,
        "retention does not wait",
    ),
    cut("log/cleaner.py", "self._engine.wait(number)\n        return CleanReport(0", _LOG, "giving back does not wait"),
    cut(
        "log/cleaner.py",
        "self._engine.wait(number)\n\n\n",
        _LOG,
        "a note of compaction does not wait",
    ),
    swap(
        "log/group_admin.py",
        "self._engine.wait(self._share_admin.reset_offsets(group, found, offsets))",
        "self._share_admin.reset_offsets(group, found, offsets)",
        _LOG,
        "resetting a share group does not wait",
    ),
    swap(
        "log/group_admin.py",
        "self._engine.wait(self._share_admin.delete(group))",
        "self._share_admin.delete(group)",
        _LOG,
        "deleting a share group does not wait",
    ),
    cut("log/group_admin.py", "self._engine.wait(number)\n\n    def delete", _LOG, "resetting offsets does not wait"),
    cut("log/group_admin.py", "self._engine.wait(number)\n\n    def _look", _LOG, "deleting a group does not wait"),
    cut("log/share/consumer.py", "self._engine.wait(number)", _LOG, "joining a share group does not wait"),
    cut("log/share/sharing.py", "self._engine.wait(number)", _LOG, "following topics does not wait"),
    cut(
        "broker/vhost/publishing.py",
        "self.engine.wait(number)\n        if route.pushed",
        _BROKER,
        "a plain publication does not wait",
    ),
    cut(
        "broker/vhost/publishing.py",
        "self.engine.wait(number)\n            if self.engine.published",
        _BROKER,
        "a publication does not wait",
    ),
    cut("broker/vhost/delaying.py", "self.engine.wait(number)", _BROKER, "a delayed publication does not wait"),
    swap(
        "transactions/transaction.py",
        "                    self._engine.wait(number)\n",
        "                    pass\n",
        _LOG,
        "a transaction does not wait",
    ),
)
