"""The flights as messages: routing key, priority, the queues that want them, and what each must then hold."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from dataset import DEP_DELAY, Flight

# Columns of flights.csv
FLIGHT, ORIGIN, DESTINATION = 10, 12, 13

LATE_MINUTES = 15  # more than this is late
MAX_PRIORITY = 20


class Departure(NamedTuple):
    """One message. Its number, the place in the order of scheduled hours, is its message id."""

    number: int
    carrier: str
    origin: str
    status: str  # ontime, late or cancelled
    delay_minutes: int  # below 0 when early, 0 when cancelled
    line: bytes

    @property
    def routing_key(self) -> str:
        return f"{self.carrier}.{self.origin}.{self.status}"

    @property
    def priority(self) -> int:
        """Return the hours of delay: the worst come first."""
        return min(max(self.delay_minutes, 0) // 60, MAX_PRIORITY)

    @property
    def name(self) -> str:
        columns = self.line.decode().split(",")
        return f"{self.carrier} {columns[FLIGHT]}, {self.origin} to {columns[DESTINATION]}"


class Wanted(NamedTuple):
    """A queue: the pattern it is bound by, and what that means."""

    pattern: str
    holds: Callable[[Departure], bool]


QUEUES = {
    "crew": Wanted("#", lambda _: True),
    "delta": Wanted("DL.#", lambda departure: departure.carrier == "DL"),
    "late at Kennedy": Wanted("*.JFK.late", lambda it: it.origin == "JFK" and it.status == "late"),
    "cancelled at Newark": Wanted("*.EWR.cancelled", lambda it: it.origin == "EWR" and it.status == "cancelled"),
    "worst": Wanted("*.*.late", lambda departure: departure.status == "late"),
}


class Answers(NamedTuple):
    """What one direct pass over the flights finds, and so what the broker must lead to."""

    copies: dict[str, int]  # by queue
    worst: list[int]  # numbers of late flights, by hours of delay, then by time
    cancelled: list[int]
    statuses: Counter[tuple[str, str]]  # flights by carrier and status


def departures(flights: list[Flight]) -> list[Departure]:
    """Number the flights and tell how each of them left."""
    return [_departure(number, flight) for number, flight in enumerate(flights)]


def answer(flights: list[Departure]) -> Answers:
    """Work out the answers without any broker."""
    late = [flight for flight in flights if flight.status == "late"]
    return Answers(
        copies={queue: sum(map(wanted.holds, flights)) for queue, wanted in QUEUES.items()},
        worst=[flight.number for flight in sorted(late, key=lambda flight: -flight.priority)],
        cancelled=[flight.number for flight in flights if flight.status == "cancelled"],
        statuses=Counter((flight.carrier, flight.status) for flight in flights),
    )


def _departure(number: int, flight: Flight) -> Departure:
    columns = flight.line.split(b",")
    delay = columns[DEP_DELAY]
    minutes = 0 if delay == b"NA" else int(delay)
    status = "cancelled" if delay == b"NA" else "late" if minutes > LATE_MINUTES else "ontime"
    return Departure(number, flight.carrier.decode(), columns[ORIGIN].decode(), status, minutes, flight.line)
