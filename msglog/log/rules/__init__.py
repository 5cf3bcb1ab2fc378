"""The log's pure rules: names, partitioning, groups, retention, compaction and topic options.

Nothing here does I/O, reads a clock, waits or starts a thread; times come in as integers in milliseconds.
Imported by the log and, for describing topics and groups, by the layers above it.
"""
