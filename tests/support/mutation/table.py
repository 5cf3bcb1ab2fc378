"""The mutations: every piece of safety code that is taken out or turned round in turn, and the check that notices.

Each call that syncs, each checksum, each error about damage of the storage engine, each wait for a sync stands in one
of the tables, or in `HARMLESS` with the reason why nothing is lost without it; a test compares them with the source.
"""

from support.mutation.checksums_table import CHECKSUMS
from support.mutation.errors_table import ERRORS
from support.mutation.mutant import Mutation
from support.mutation.order_table import ORDER
from support.mutation.syncs_table import SYNCS, SYSTEM
from support.mutation.tools_table import TOOLS
from support.mutation.waits_table import WAITS

MUTATIONS: tuple[Mutation, ...] = (*SYNCS, *SYSTEM, *CHECKSUMS, *ERRORS, *ORDER, *WAITS, *TOOLS)

_TO_SEE = "waits to see messages that were published without waiting, sooner than the next sync would show them"

HARMLESS: dict[tuple[str, str], str] = {
    ("storage/journal.py", "self.file.sync()"): (
        "growth of an area: the sync that an entry waits for covers the file's size and zeros, too; this one only "
        "spares it a change of metadata"
    ),
    ("broker/vhost/delaying.py", "self.engine.wait(self.engine.commit_number)"): (
        "what is read under the locks is synced there if it must be; this one only spares others to wait for that"
    ),
    ("broker/consumer.py", "self.vhost.engine.wait(unseen)"): _TO_SEE,
    ("broker/handle.py", "self._engine.wait(self._engine.commit_number)"): _TO_SEE,
    ("broker/channel/consuming.py", "vhost.engine.wait(vhost.engine.commit_number)"): _TO_SEE,
    ("broker/vhost/handing.py", "self.engine.wait(self.engine.commit_number)"): _TO_SEE,
}
"""Safety calls without a mutation, by file and text, and why nothing can be lost without them."""
