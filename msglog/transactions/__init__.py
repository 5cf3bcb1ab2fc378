"""One commit across both models, and loops that process each message exactly once.

    transaction     the public class: commits; collecting: the half of it that collects
    looping         waiting without blocking an event loop
    scope           whose transaction it is: one thread or task, none inside another
    processing      consume, transform, produce: the loop
    sources         what it takes messages from; dead_letters: where records go that were given up
    outcomes        what becomes of a message after an exception, for threads and for tasks
    compiled        collecting, deciding, and what tasks await in C (`_compiled_*.c`), where that was compiled

Importing it makes it known to the store (`store.transaction()`, `store.process()`). A layer above log and broker, which
do not know each other: each has a stage (`log/staging.py`, `broker/staging.py`) that makes its part of a commit.
Imported by `msglog` and the layers above.
"""

from msglog.store import register_call
from msglog.transactions.compiled import put_in_front
from msglog.transactions.processing import process
from msglog.transactions.transaction import Transaction

__all__ = ["Transaction"]

register_call("transaction", Transaction.begin)
register_call("process", process)
put_in_front()
