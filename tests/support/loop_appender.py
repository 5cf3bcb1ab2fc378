"""Run in a child: tasks of an event loop append, some of them cancelled, and tell what was acknowledged, until killed.

Writes "ready", then "<offset> <value>" for every append that returned.
"""

import asyncio
import os
import random

from msglog.aio import Log

TASKS = 6


async def _append(log: Log, life: int, task: int) -> None:
    chance = random.Random(task)
    number = 0
    while True:
        value = b"%d:%d:%d" % (life, task, number)
        number += 1
        appending = log.append("t", value, key=chance.choice([None, b"key"]))
        try:
            metadata = await asyncio.wait_for(appending, chance.choice([None, None, None, 0.001]))
        except TimeoutError:
            continue
        os.write(1, b"%d %b\n" % (metadata.offset, value))


async def _append_in_tasks(directory: str, life: int) -> None:
    async with Log(directory, sync="commit") as log:
        os.write(1, b"ready\n")
        await asyncio.gather(*(_append(log, life, task) for task in range(TASKS)))


def main(directory: str, life: int) -> None:
    """Append in all tasks for ever."""
    asyncio.run(_append_in_tasks(directory, life))
