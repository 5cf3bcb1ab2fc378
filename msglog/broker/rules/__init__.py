"""The broker's pure rules: routing, options of queues and exchanges, policies, dead letters, message metadata.

Nothing here does I/O, reads a clock, waits, starts a thread or draws random numbers on its own; times come in as
integers in milliseconds. Imported by the broker and, for its values, by the layers above it.
"""
