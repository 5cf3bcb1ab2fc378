"""Run all benchmarks: `python -m benchmarks --help`."""

import argparse
import os
import platform
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import broker, latency, log, observing, opening, tasks, testing_kit, transactions, views
from benchmarks.harness import Row, print_table

MODULES = (broker, latency, log, observing, opening, tasks, testing_kit, transactions, views)
MEASURES = {name: measure for module in MODULES for name, measure in module.MEASURES.items()}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--directory", default=tempfile.gettempdir(), help="on the disk to measure")
    parser.add_argument("--rounds", type=int, default=5, help="how often to measure; the best counts")
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=MEASURES, help="some rows only")
    parser.add_argument("--backlog", type=int, default=broker.BACKLOG, help="messages that wait in a queue")
    options = parser.parse_args()
    measures = MEASURES | {"backlog": partial(broker.backlog_rows, messages=options.backlog)}
    print(f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} CPUs")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="msglog-bench-") as folder:
        for name in options.only:
            print(f"measuring {name} ...", file=sys.stderr)
            rows += measures[name](Path(folder), options.rounds)
    print_table(rows)


main()
