"""Waiting for a sync without blocking an event loop. Imported by `transaction`."""

import sys

from msglog.storage import Engine


async def wait_off_the_loop(engine: Engine, commit: int) -> None:
    """Return when a commit is as durable as `sync` promises; the wait runs in a thread of the loop's executor.

    Cancelling it ends the wait, not the commit, which is written already.
    """
    if engine.published < commit or engine.checkpoint_requested:
        loop = sys.modules["asyncio"].get_running_loop()  # whoever awaits has imported it; a plain import is slow
        await loop.run_in_executor(None, engine.wait, commit)
