"""Run all benchmarks: `python -m benchmarks --help`."""

from benchmarks.log import main

main()
