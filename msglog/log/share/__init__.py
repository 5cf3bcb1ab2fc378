"""Share groups (KIP-932): several workers acknowledge the records of topics one by one.

    consumer · record     the public classes, for users
    sharing               the groups of one store: joining, handing out, settling, locks that expire
    group · partition     what is in memory of one group, and of one partition in it
    admin                 looking at groups, moving and deleting those that nobody is in
    model                 which groups there are, and which cursors are theirs: survives the process

A share group is the queue's cursor on a topic's stream: `msglog.cursors` does the arithmetic. Imported by the rest of
the log, by module.
"""
