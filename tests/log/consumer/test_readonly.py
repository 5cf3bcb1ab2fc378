"""Consumers in a process that reads what another one writes."""

import re
import subprocess
import sys
import time

import pytest

from msglog import Log, ReadOnlyError, TopicPartition

WRITER = """
import sys
from msglog import Log
with Log(sys.argv[1]) as log:
    log.create_topic("t")
    log.append("t", b"first")
    print("ready", flush=True)
    for line in sys.stdin:
        if line.startswith("create"):
            log.create_topic(line.split()[1])
        else:
            log.append(line.strip(), b"more")
        print("done", flush=True)
"""


@pytest.fixture
def writer(tmp_path):
    """A process that writes; call it with a line to have something done."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "store")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as child:
        assert child.stdout.readline() == "ready\n"

        def tell(line, *, wait=True):
            child.stdin.write(line + "\n")
            if wait:
                assert child.stdout.readline() == "done\n"

        yield tell
        child.stdin.close()


def test_a_consumer_follows_a_writer_in_another_process(writer, tmp_path):
    with Log(tmp_path / "store", readonly=True) as log, log.consumer(re.compile(r"t|new")) as consumer:
        assert [record.value for record in consumer.poll(10)] == [b"first"]
        assert consumer.poll(0) == []
        writer("t", wait=False)
        assert [record.value for record in consumer.poll(10)] == [b"more"]
        writer("create new")
        writer("new")
        assert [record.topic for record in consumer.iter(1)] == ["new"]
        assert consumer.lag() == {TopicPartition("t", 0): 0, TopicPartition("new", 0): 0}
        begin = time.monotonic()
        assert consumer.poll(0.05) == []
        assert time.monotonic() - begin < 5
        with pytest.raises(ReadOnlyError):
            log.consumer("t", group="g")
