"""A share group beside a plain model: members that come, go and stall, a clock that moves, stores that end."""

import gc
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from msglog import SettlementError, TopicPartition
from msglog.testing import ManualClock
from support.shares import LogDisk

PARTITIONS = 2
LOCKS_MS = (1000, 5000)
LIMITS = (2, 4)


@dataclass
class Held:
    """A record in a member's hand."""

    member: int
    due_ms: int
    record: object


class ShareMachine(RuleBasedStateMachine):
    """The model: what is settled, what is in whose hand until when, and how often each record was handed out."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.clock = ManualClock()
        self.disk = LogDisk(Path(self.folder), sync="none", clock=self.clock, segment_bytes=1024)
        self.disk.log.create_topic("t", partitions=PARTITIONS)
        self.ends = [0] * PARTITIONS
        self.starts = [0] * PARTITIONS
        self.settled = set()
        self.times = {}
        self.held = {}
        self.stale = []
        self.members = {}
        self.options = {}
        self.joined = 0
        self.disk.log.share_consumer("t", group="g").close()

    def teardown(self):
        self.close_all()
        self.disk.log.close()
        shutil.rmtree(self.folder)

    def close_all(self):
        for member in self.members.values():
            member.close()

    def available(self, partition):
        return [
            (partition, offset)
            for offset in range(self.starts[partition], self.ends[partition])
            if (partition, offset) not in self.settled and (partition, offset) not in self.held
        ]

    def lag(self, partition):
        return self.disk.log.describe_group("g").lag[TopicPartition("t", partition)]

    def come_back(self, place):
        """A record is available again, or given up, as its holder's limit says."""
        held = self.held.pop(place)
        self.stale.append(held.record)
        if self.times[place] >= self.options[held.member][1]:
            self.settled.add(place)

    def draw_held(self, data):
        return data.draw(st.sampled_from(sorted(self.held)))

    @rule(partition=st.integers(0, PARTITIONS - 1), count=st.integers(1, 20), singly=st.booleans())
    def append(self, partition, count, singly):
        values = [b"%d" % number for number in range(count)]
        if singly:
            for value in values:
                self.disk.log.append("t", value, partition=partition)
        else:
            self.disk.log.append_many("t", values, partition=partition)
        self.ends[partition] += count

    @precondition(lambda self: len(self.members) < 3)
    @rule(lock_ms=st.sampled_from(LOCKS_MS), limit=st.sampled_from(LIMITS))
    def join(self, lock_ms, limit):
        self.joined += 1
        self.options[self.joined] = lock_ms, limit
        self.members[self.joined] = self.disk.log.share_consumer("t", group="g", lock_ms=lock_ms, delivery_limit=limit)

    @precondition(lambda self: self.members)
    @rule(data=st.data(), most=st.integers(1, 12))
    def poll(self, data, most):
        member = data.draw(st.sampled_from(sorted(self.members)))
        lock_ms, limit = self.options[member]
        before = {partition: self.available(partition) for partition in range(PARTITIONS)}
        records = self.members[member].poll(0, max_records=most)
        taken = [(record.partition, record.offset) for record in records]
        assert len(set(taken)) == len(taken)
        for partition in range(PARTITIONS):
            mine = [place for place in taken if place[0] == partition]
            reached = mine[-1] if mine and len(taken) == most else (partition, self.ends[partition])
            skipped = [place for place in before[partition] if place <= reached and self.times.get(place, 0) >= limit]
            expected = [place for place in before[partition] if place not in skipped][: len(mine)]
            assert mine == expected
            # Where all are at the limit they are given up, if the member looked there before it found what it took.
            in_hand = sum(number == partition for number, _ in self.held)
            given_up = skipped == before[partition] and self.lag(partition) == in_hand
            if mine or len(taken) < most or given_up:
                self.settled |= set(skipped)
        if len(taken) < most:
            assert not any(self.times.get(p, 0) < limit for each in before.values() for p in each if p not in taken)
        for place, record in zip(taken, records, strict=True):
            self.times[place] = self.times.get(place, 0) + 1
            assert record.delivery_count == self.times[place]
            self.held[place] = Held(member, self.clock.monotonic_ms() + lock_ms, record)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), reject=st.booleans())
    def settle(self, data, reject):
        place = self.draw_held(data)
        record = self.held.pop(place).record
        (record.reject if reject else record.ack)()
        self.settled.add(place)
        self.stale.append(record)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data):
        place = self.draw_held(data)
        self.held[place].record.release()
        self.come_back(place)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), call=st.sampled_from(["ack", "release", "reject"]))
    def settle_too_late(self, data, call):
        with pytest.raises(SettlementError):
            getattr(data.draw(st.sampled_from(self.stale)), call)()

    @rule(ms=st.sampled_from([1, 500, 999, 1000, 4000, 5000]))
    def advance(self, ms):
        self.clock.advance(ms=ms)
        for place in [place for place, held in self.held.items() if held.due_ms <= self.clock.monotonic_ms()]:
            self.come_back(place)

    @precondition(lambda self: self.members)
    @rule(data=st.data(), drop=st.booleans())
    def leave(self, data, drop):
        number = data.draw(st.sampled_from(sorted(self.members)))
        member = self.members.pop(number)
        if drop:
            for held in self.held.values():
                if held.member == number:
                    held.record = held.record._replace()  # a plain one does not keep the consumer
            self.stale.clear()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                del member
                gc.collect()  # the traceback of a call that was refused may hold a record of it, in a cycle
        else:
            member.close()
        kept = len(self.stale)
        for place in [place for place, held in self.held.items() if held.member == number]:
            self.come_back(place)
        if drop:
            del self.stale[kept:]

    @rule(partition=st.integers(0, PARTITIONS - 1), data=st.data())
    def delete_records(self, partition, data):
        before = data.draw(st.integers(self.starts[partition], self.ends[partition]))
        self.starts[partition] = self.disk.log.delete_records("t", partition, before)

    @rule(crash=st.booleans())
    def end(self, crash):
        if crash:
            self.held.clear()
            self.disk.crash()
        else:
            self.close_all()
            for place in list(self.held):
                self.come_back(place)
            self.disk.reopen()
        self.members.clear()
        self.stale.clear()

    @invariant()
    def the_lag_is_what_is_left(self):
        for partition in range(PARTITIONS):
            left = set(range(self.starts[partition], self.ends[partition]))
            left -= {offset for number, offset in self.settled if number == partition}
            assert self.lag(partition) == len(left)


ShareMachine.TestCase.settings = settings(max_examples=40)  # stores on disk that are opened again and again
TestShareGroup = ShareMachine.TestCase
# A member that was dropped is collected when nothing shows it any more, a traceback of the search included.
TestShareGroup.pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]
