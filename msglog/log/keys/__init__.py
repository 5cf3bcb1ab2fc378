"""The index by key: where in a partition the records of a key are, kept across restarts without a scan.

    indexes.py   all indexes of one store; made when they are first asked for
    service.py   what closes them
    index.py     the index of one partition: runs, and what came since the last one
    run.py       an immutable sorted piece of it, in a file or in memory
    files.py     the files of the runs

Never authoritative: every file can be made again from the records, and what does not fit is made again. Imported by
`topic`, `placing`, `reading` and the parts of the log around them; imports `storage` and the rules.
"""
