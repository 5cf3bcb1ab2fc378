"""The index by key against a plain dict: expectations, removal, compaction, reopening, kills, damaged files."""

import random
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from msglog import Log, OffsetConflictError
from msglog.testing import ManualClock
from support.keyed import check_decisions, check_keys, run_files, small_runs

KEYS = [b"", b"a", b"b", b"c", b"d", b"e"]
ONE_KEY = st.sampled_from(KEYS)


class KeyMachine(RuleBasedStateMachine):
    @initialize(
        sync=st.sampled_from(["commit", "interval", "none"]),
        memory=st.booleans(),
        compacts=st.booleans(),
        partitions=st.integers(1, 2),
        rows=st.integers(1, 9),
    )
    def open(self, sync, memory, compacts, partitions, rows):
        self.small = small_runs(rows=rows, block=2)
        self.small.__enter__()
        self.base = None if memory else tempfile.mkdtemp(prefix="msglog-key-machine-")
        self.directory = None if memory else f"{self.base}/0"
        self.options = {"sync": sync, "segment_bytes": 1024, "clock": ManualClock()}
        self.log = Log(self.directory or ":memory:", **self.options)
        self.compacts = compacts
        self.make(partitions)

    def make(self, partitions):
        self.log.create_topic("t", partitions=partitions, cleanup_policy="compact" if self.compacts else "delete")
        self.last = [{} for _ in range(partitions)]

    def teardown(self):
        if hasattr(self, "log"):
            self.log.close()
            self.small.__exit__(None, None, None)
            if self.base is not None:
                shutil.rmtree(self.base)

    # Appending

    @rule(key=ONE_KEY, count=st.integers(1, 4), wrong=st.sampled_from([0, 0, 0, 1, -1]), data=st.data())
    def expect(self, key, count, wrong, data):
        partition = data.draw(st.none() | st.integers(0, len(self.last) - 1))
        number = self.log.partition_for("t", key) if partition is None else partition
        actual = self.last[number].get(key, -1)
        expected = max(-1, actual + wrong)
        try:
            if count == 1:
                stop = self.log.append("t", b"", key=key, partition=partition, expected_key_offset=expected).offset + 1
            else:
                placed = self.log.append_many(
                    "t", [b""] * count, key=key, partition=partition, expected_key_offset=expected
                )
                stop = placed[number].stop
        except OffsetConflictError as error:
            assert (error.expected, error.actual) == (expected, actual)  # noqa: PT017 only some calls conflict
            assert expected != actual
        else:
            assert expected == actual
            self.last[number][key] = stop - 1

    @rule(key=ONE_KEY, value=st.sampled_from([b"", b"x" * 100, None]))
    def append(self, key, value):
        got = self.log.append("t", value, key=key)
        self.last[got.partition][key] = got.offset

    @rule(keys=st.lists(ONE_KEY, min_size=1, max_size=12))
    def append_many(self, keys):
        placed = self.log.append_many("t", [b""] * len(keys), keys=keys)
        ends = {partition: offsets.start for partition, offsets in placed.items()}
        for key in keys:
            number = self.log.partition_for("t", key)
            self.last[number][key] = ends[number]
            ends[number] += 1
        assert ends == {partition: offsets.stop for partition, offsets in placed.items()}

    @precondition(lambda self: not self.compacts)
    @rule(count=st.integers(1, 30))
    def append_without_keys(self, count):
        self.log.append_many("t", [b""] * count)

    # Removing

    @rule(data=st.data())
    def delete_records(self, data):
        number = data.draw(st.integers(0, len(self.last) - 1))
        start, end = self.log.start_offset("t", number), self.log.end_offset("t", number)
        start = self.log.delete_records("t", number, data.draw(st.integers(start, end)))
        self.last[number] = {key: offset for key, offset in self.last[number].items() if offset >= start}

    @rule(ms=st.sampled_from([0, 1000, 100_000_000]))
    def clean(self, ms):
        self.options["clock"].advance(ms=ms)
        self.log.clean("t")
        if self.compacts:
            self.accept_what_is_left()

    def accept_what_is_left(self):
        """A tombstone that was its key's last record may go: then the key has none."""
        for number, known in enumerate(self.last):
            left = {record.key: record.offset for record in self.log.read("t", number)}
            assert left.items() <= known.items()
            self.last[number] = left

    @rule()
    def make_anew(self):
        self.log.delete_topic("t")
        self.make(len(self.last))

    @precondition(lambda self: len(self.last) < 4)
    @rule()
    def add_partition(self):
        self.log.add_partitions("t", len(self.last) + 1)
        self.last.append({})

    # Ending

    @precondition(lambda self: self.directory is not None)
    @rule(sync=st.sampled_from(["commit", "interval", "none"]), kill=st.booleans(), seed=st.none() | st.integers(0, 99))
    def reopen(self, sync, kill, seed):
        old = self.directory
        if kill:
            self.directory = old + "k"
            engine = self.log.store.core.engine
            with engine._checkpointer._running, engine.lock:
                shutil.copytree(old, self.directory)
        self.log.close()
        if kill:
            shutil.rmtree(old)
        if seed is not None:
            self.damage(random.Random(seed))
        self.options["sync"] = sync
        self.log = Log(self.directory, **self.options)

    def damage(self, chance):
        for path in run_files(Path(self.directory)):
            if chance.random() < 0.5:
                data = bytearray(path.read_bytes())
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
                path.write_bytes(data)

    # What must hold

    @rule()
    def ask(self):
        for number in range(len(self.last)):
            check_keys(self.log, "t", KEYS, number)
            check_decisions(self.log, "t", KEYS, number)

    @invariant()
    def knows_the_last_records(self):
        if hasattr(self, "log"):
            for number, known in enumerate(self.last):
                for key in KEYS:
                    record = self.log.last_record("t", key, partition=number)
                    assert (-1 if record is None else record.offset) == known.get(key, -1)


TestKeyMachine = KeyMachine.TestCase
