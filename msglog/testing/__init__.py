"""What tests of applications use: a clock that is moved by hand, recorders, faults, and a disk that loses power.

The pytest plugin, whose fixtures hand these out, is found by pytest itself.
"""

from msglog.clock import ManualClock
from msglog.testing.disk import SimulatedDisk
from msglog.testing.events import Committed, Published, Settled, ShareSettled
from msglog.testing.faults import Fault, Faults
from msglog.testing.happening import drain, evict, expire_lock, rebalance, redeliver
from msglog.testing.recording import Recorder, record

__all__ = [
    "Committed",
    "Fault",
    "Faults",
    "ManualClock",
    "Published",
    "Recorder",
    "Settled",
    "ShareSettled",
    "SimulatedDisk",
    "drain",
    "evict",
    "expire_lock",
    "rebalance",
    "record",
    "redeliver",
]
