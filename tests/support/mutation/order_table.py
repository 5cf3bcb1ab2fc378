"""Mutations of the order of things: what must come before what, and what counts when a store is opened."""

from support.mutation.mutant import Mutation, swap

ORDER: tuple[Mutation, ...] = (
    swap(
        "storage/writers.py",
        "        self._sync_areas(areas, target)\n        with engine.lock:\n            self._publish_up_to(target)",
        "        with engine.lock:\n            self._publish_up_to(target)\n        self._sync_areas(areas, target)",
        "frames follow their entries",
        "commits are shown before they are synced",
    ),
    swap(
        "storage/writers.py",
        "        self._sync_areas(self.write_out(), target)\n        self._publish_up_to(target)",
        "        self._publish_up_to(target)\n        self._sync_areas(self.write_out(), target)",
        "commits before a checkpoint",
        "a checkpoint shows commits before they are synced",
    ),
    swap(
        "storage/writers.py",
        "            placed.assign()\n            placed.segment.announced = True",
        "            placed.assign()\n            placed.segment.announced = True\n            self.store(placed)",
        "frames follow their entries",
        "frames are stored before their entry is synced",
    ),
    swap(
        "storage/checkpointer.py",
        "or self._noted_at_rest(clean=clean)\n            try:",
        "or self._noted_at_rest(clean=clean)\n            self._unlink(notes.garbage)\n            try:",
        "power cuts, trimmed, commit",
        "files are unlinked before the checkpoint is durable",
    ),
    swap(
        "storage/checkpointer.py",
        "        for segment, _ in notes.dirty:\n            self._sync(segment)\n",
        "        write_checkpoint(engine.filesystem, engine.directory, notes.checkpoint)\n"
        "        for segment, _ in notes.dirty:\n            self._sync(segment)\n",
        "power cuts, appends, interval",
        "a checkpoint is written before what it lists is synced",
    ),
    swap(
        "storage/checkpointer.py",
        "            self._write_snapshot(engine.path(state_name(notes.checkpoint.state[0])), notes.snapshot)\n"
        "        write_checkpoint(engine.filesystem, engine.directory, notes.checkpoint)",
        "            write_checkpoint(engine.filesystem, engine.directory, notes.checkpoint)\n"
        "            self._write_snapshot(engine.path(state_name(notes.checkpoint.state[0])), notes.snapshot)\n"
        "        write_checkpoint(engine.filesystem, engine.directory, notes.checkpoint)",
        "power cuts, snapshots, interval",
        "a checkpoint is written before its snapshot",
    ),
    swap(
        "storage/checkpointer.py",
        "        engine.checkpoint_begins()\n",
        "        engine.checkpoint_begins()\n        if engine._journal:\n"
        "            engine._journal.prepare(engine.commit_number)\n"
        "            engine._journal.release(engine.commit_number)\n",
        "commits during a checkpoint",
        "journal space is free before the checkpoint is durable",
    ),
    swap(
        "storage/journal.py",
        "if 0 < area.last_commit <= commit and",
        "if 0 < area.last_commit and",
        "commits during a checkpoint",
        "journal space with later commits is free",
    ),
    swap(
        "storage/checkpointer.py",
        "            engine.writer.drain_locked()\n            if clean:",
        "            if clean:",
        "commits before a checkpoint",
        "a checkpoint covers what is not synced in the journal",
    ),
    swap(
        "storage/checkpointer.py",
        "if all(segment.stored_position >= position for segment, position, _ in notes.listed):",
        "if True:",
        "segments dropped beside a checkpoint",
        "a checkpoint lists frames that went nowhere",
    ),
    swap(
        "storage/checkpointer.py",
        "                    notes.note_dirty()\n                    return notes",
        "                    return notes",
        "power cuts, appends, commit",
        "a checkpoint forgets which segments to sync",
    ),
    swap(
        "storage/checkpointer.py",
        "if segment.dirty or segment in self.made",
        "if segment.dirty or not segment.announced",
        "segments begun beside a checkpoint",
        "a checkpoint believes an entry that nobody has synced",
    ),
    swap(
        "storage/journal.py",
        "if 0 < area.last_commit <= commit and not area.replaced:",
        "if 0 < area.last_commit <= commit:",
        "areas half made anew",
        "an area is free that may have no name any more",
    ),
    swap(
        "storage/checkpointer.py",
        "lives=[(engine.life, engine.first_commit)]",
        "lives=[(engine.life - 1, engine.first_commit)]",
        "power cuts, lives, interval",
        "a checkpoint names the last life",
    ),
    swap(
        "storage/recovery.py",
        "        write_checkpoint(filesystem, directory, self.checkpoint)",
        "        pass",
        "power cuts, lives, interval",
        "a life begins without a checkpoint",
    ),
    swap(
        "storage/recovery.py",
        "clean = checkpoint.clean and (len(checkpoints) == len(CHECKPOINTS) or checkpoint.sequence == 1)",
        "clean = checkpoint.clean",
        "lives without a checkpoint",
        "a clean end is believed without its successor",
    ),
    swap(
        "storage/recovery.py",
        "        _make_durable(engine, checkpoint, rewrite=failed)",
        "        _make_durable(engine, checkpoint, rewrite=False)",
        "failed syncs, interval",
        "after a failed sync the checkpoint is not written anew",
    ),
    swap(
        "storage/recovery.py",
        "            rewrite_tails(engine)",
        "            pass",
        "failed syncs, interval",
        "after a failed sync the tail is not written anew",
    ),
    swap(
        "storage/engine.py",
        "if journaled or recovered.needs_checkpoint:",
        "if recovered.needs_checkpoint:",
        "power cuts, killed_between_modes, interval",
        "what was recovered is not synced before it is served",
    ),
    swap(
        "storage/recovery.py",
        "    failed = _failed_before(engine)\n",
        "    failed = _failed_before(engine)\n    if failed:\n        engine.filesystem.unlink(engine.path(FAILED))\n"
        "        engine._page = PublishedPage.open(engine.filesystem, engine.path(PUBLISHED), writable=True)\n"
        "        engine._page.slots[3] = 0\n",
        "failed sync and another end",
        "the mark of a failed sync goes before the tail is written anew",
    ),
    swap(
        "storage/engine.py",
        "self.failure = self.obstacle = failure",
        "pass",
        "failed syncs, commit",
        "a store whose sync failed goes on",
    ),
    swap(
        "storage/engine.py",
        "            self._page.mark_failed()",
        "            pass",
        "failed sync without a mark",
        "a failed sync is not marked in the page",
    ),
    swap(
        "storage/walk.py",
        "if commit <= self.commit or self._checkpoint.life_of(commit) != life:",
        "if commit <= self.commit:",
        "second lives, interval",
        "frames of an older life count",
    ),
    swap(
        "storage/walk.py",
        "while self._found[commit + 1] and self._found[commit + 1] == self._needed[commit + 1]:",
        "while self._found[commit + 1]:",
        "power cuts, transactions, interval",
        "half a commit counts",
    ),
    swap(
        "storage/redo.py",
        "found = {entry.commit: entry for entry in entries if checkpoint.life_of(entry.commit) == entry.life}",
        "found = {entry.commit: entry for entry in entries}",
        "second lives, commit",
        "entries of an older life count",
    ),
    swap(
        "storage/planning.py",
        "for section, event in commit.events]",
        "for section, event in reversed(commit.events)]",
        "power cuts, transactions, interval",
        "events are written in another order",
    ),
    swap(
        "storage/planning.py",
        "        for section, event in plan.events:\n            engine.models",
        "        for section, event in reversed(plan.events):\n            engine.models",
        "power cuts, transactions, interval",
        "events are applied in another order",
    ),
    swap(
        "storage/remains.py",
        "                _write_copy(engine, target, remains)\n"
        "                file.write(segment.position, bytes(len(remains)))",
        "                file.write(segment.position, bytes(len(remains)))\n                file.sync()\n"
        "                _write_copy(engine, target, remains)",
        "quarantined copies",
        "what is cut is zeroed before it is copied",
    ),
    swap(
        "storage/remains.py",
        "            keep(engine, path, findings)",
        "            filesystem.unlink(path)",
        "kept strangers",
        "files that nobody knows are deleted",
    ),
    swap(
        "storage/recovery.py",
        "            keep(engine, engine.path(name), findings)",
        "            filesystem.unlink(engine.path(name))",
        "kept strangers",
        "what may have been a checkpoint is deleted",
    ),
    swap(
        "storage/recovery.py",
        "        sort_out_runs(engine, commit)\n",
        "",
        "runs of a lost past",
        "untrue runs of an index by key are left",
    ),
    swap(
        "log/keys/index.py",
        "if seeds in ([], [run.anchor.seed]):",
        "if True:",
        "runs by key",
        "runs of another store are believed",
    ),
    swap(
        "storage/stream_table.py",
        "            if self._filesystem.durable or self.holders:\n",
        "            if False:\n",
        "power cuts, trimmed, commit",
        "dropped segments are unlinked at once",
    ),
)
