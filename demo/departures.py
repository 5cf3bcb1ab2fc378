"""The same flights through a broker: 336,776 messages, an exchange, six queues, one SIGKILL, every result checked.

    make demo

Every departure is published once, to a topic exchange, with a routing key such as `UA.EWR.late`. Five queues are
bound to it by patterns, and each gets a copy of what its pattern matches:

- `crew`, bound by `#`, gets everything. Three workers in a process of their own settle it; they reject flights that
  never left, which then go to the dead-letter queue `never left`. Half-way that process is killed, the store opened
  again, and a new crew started: `crew.py` says why nothing is lost.
- `worst` is a priority queue: the more hours late, the earlier its message comes out.
- `delta`, `late at Kennedy` and `cancelled at Newark` are only counted.

All of it must be what a direct pass over the file finds; otherwise the demo exits with status 1.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from signal import SIGKILL
from tempfile import TemporaryDirectory
from time import perf_counter

try:
    import crew
    from board import Measured, Results, print_checks, print_measured, print_results
    from dataset import load_airlines, load_flights
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from timetable import MAX_PRIORITY, QUEUES, Departure, answer, departures

    from msglog import Broker, Message, Properties
except ModuleNotFoundError as missing:
    sys.exit(f"the package {missing.name} is missing: `make demo` installs all that the demo needs")

BATCH = 1000
DEAD_LETTERS = "never left"

Advance = Callable[[int], None]  # moves a progress bar by so many flights


def main() -> None:
    console = Console()
    try:
        flights, airlines = departures(load_flights()), load_airlines()
    except ModuleNotFoundError as missing:
        sys.exit(f"{missing}: `make demo` installs the package {missing.name}, which carries them")
    console.print(f"the same {len(flights):,} flights, as messages")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        TemporaryDirectory(prefix="msglog-departures-") as directory,
        Progress(*columns, console=console) as progress,
    ):
        results, measured = run(Path(directory), flights, progress)
    print_results(console, results, flights, airlines)
    print_measured(console, results, measured)
    if not print_checks(console, results, answer(flights), flights, in_hand_at_most=crew.WORKERS * crew.BATCH):
        sys.exit("the broker and the file disagree")


def run(directory: Path, flights: list[Departure], progress: Progress) -> tuple[Results, Measured]:
    """Publish the flights, empty the priority queue, let the crew work, kill and resume it."""

    def bar(what: str, total: int = len(flights)) -> Advance:
        return partial(progress.advance, progress.add_task(what, total=total))

    with Broker(directory) as broker:
        declare(broker)
        started = perf_counter()
        publish(broker, flights, bar("publish"))
        published = perf_counter()
        copies = {queue.name: queue.message_count for queue in broker.queues() if queue.name in QUEUES}
        published_bytes = disk_bytes(directory)
        before_worst = perf_counter()
        worst = take_worst(broker, bar("priority queue", copies["worst"]))
        worst_seconds = perf_counter() - before_worst

    half = len(flights) // 2
    reported, first_seconds = run_crew(directory, bar("crew, killed half-way", half), kill_at=half)
    killed = perf_counter()
    broker = Broker(directory)
    reopened = perf_counter()
    with broker:
        left = message_count(broker, "crew")
    again, second_seconds = run_crew(directory, bar("crew, resumed", left))
    with Broker(directory) as broker:
        results = Results(copies, worst, reported + again, left, take_dead_letters(broker))
    return results, Measured(
        publish_seconds=published - started,
        worst_seconds=worst_seconds,
        crew_seconds=first_seconds + second_seconds,
        reopen_seconds=reopened - killed,
        published_bytes=published_bytes,
        end_bytes=disk_bytes(directory),
    )


def declare(broker: Broker) -> None:
    """Declare the exchange and its queues; the crew's has somewhere to send what it rejects."""
    broker.declare_exchange("departures", "topic")
    broker.declare_queue(DEAD_LETTERS)
    broker.declare_queue("crew", dead_letter_exchange="", dead_letter_routing_key=DEAD_LETTERS)
    broker.declare_queue("worst", max_priority=MAX_PRIORITY)
    for queue, wanted in QUEUES.items():
        if queue not in {"crew", "worst"}:
            broker.declare_queue(queue)
        broker.bind(queue, "departures", wanted.pattern)


def publish(broker: Broker, flights: list[Departure], advance: Advance) -> None:
    """Publish every flight, a thousand in one commit."""
    for start in range(0, len(flights), BATCH):
        batch = flights[start : start + BATCH]
        broker.publish_many("departures", map(message, batch))
        advance(len(batch))


def message(flight: Departure) -> Message:
    properties = Properties(message_id=str(flight.number), priority=flight.priority)
    return Message(flight.line, routing_key=flight.routing_key, properties=properties)


def take_worst(broker: Broker, advance: Advance) -> list[int]:
    """Empty the priority queue, message by message, and return the flights' numbers in the order they came."""
    worst = []
    with broker.consume("worst") as consumer:
        for delivery in consumer.iter(timeout=0):
            worst.append(int(delivery.properties.message_id or ""))
            delivery.ack()
            if len(worst) % BATCH == 0:
                advance(BATCH)
    advance(len(worst) % BATCH)
    return worst


def run_crew(directory: Path, advance: Advance, *, kill_at: int | None = None) -> tuple[Counter[int], float]:
    """Let a crew work in a process of its own, and kill it once it has reported `kill_at` flights.

    Return how often it reported each flight, and the seconds from its first report to its last full one: those that
    are left over come when nothing more has come for a while.
    """
    reported = Counter[int]()
    first = last = 0.0
    command = [sys.executable, crew.__file__, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - a script of our own
        for line in process.stdout or ():
            numbers = [int(number) for number in line.split()]
            first = first or perf_counter()
            if len(numbers) == crew.BATCH:
                last = perf_counter()
            reported.update(numbers)
            advance(len(numbers))
            if kill_at is not None and reported.total() >= kill_at:
                process.send_signal(SIGKILL)
    expected = 0 if kill_at is None else -SIGKILL
    if process.returncode != expected:
        sys.exit(f"the crew ended with status {process.returncode}, expected was {expected}")
    return reported, last - first


def take_dead_letters(broker: Broker) -> list[tuple[int, str, str]]:
    """Empty the dead-letter queue; return which flights were in it, and which queue rejected them, or why else."""
    found = []
    with broker.consume(DEAD_LETTERS) as consumer:
        for delivery in consumer.iter(timeout=0):
            with delivery:
                death = delivery.headers["x-death"][0]
                found.append((int(delivery.properties.message_id or ""), death["queue"], death["reason"]))
    return found


def message_count(broker: Broker, queue: str) -> int:
    return broker.declare_queue(queue, passive=True).message_count


def disk_bytes(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*"))


if __name__ == "__main__":
    main()
