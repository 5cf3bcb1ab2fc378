"""How a group's partitions are shared among its members: Kafka's four assignors, by name.

Imported by the group coordinator and by those that check an assignor's name.
"""

from typing import Final

from msglog.log.rules.assignors.base import Assignment, Assignor, Member
from msglog.log.rules.assignors.cooperative_sticky import COOPERATIVE_STICKY
from msglog.log.rules.assignors.range import RANGE
from msglog.log.rules.assignors.roundrobin import ROUNDROBIN
from msglog.log.rules.assignors.sticky import STICKY

ASSIGNORS: Final[dict[str, Assignor]] = {
    assignor.name: assignor for assignor in (RANGE, ROUNDROBIN, STICKY, COOPERATIVE_STICKY)
}

__all__ = ["ASSIGNORS", "Assignment", "Assignor", "Member"]
