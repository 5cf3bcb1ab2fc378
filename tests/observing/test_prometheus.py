"""The collector: what a scrape holds, read back by the client's own parsers; several stores; and the ends of stores."""

import gc
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

import msglog
from msglog import prometheus
from msglog.prometheus import MsglogCollector

EVIL = 'a "quoted" \\ name'


@pytest.fixture
def store(tmp_path):
    with msglog.Store(tmp_path / "s", sync="none") as store:
        yield store


@pytest.fixture
def registry():
    return CollectorRegistry()


def scraped(registry):
    """Return all samples of a scrape by name and labels; each comes once."""
    found = {}
    for family in parse(generate_latest(registry).decode()):
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(samples, name, **labels):
    return samples[name, *sorted(labels.items())]


def fill(store):
    store.log.create_topic("orders", partitions=2)
    store.log.append_many("orders", [b"secret"] * 10, partition=1)
    store.log.delete_records("orders", 1, 2)
    store.log.reset_offsets("billing", "orders", to={1: 4})
    store.broker.declare_queue("mails")
    for _ in range(3):
        store.broker.send("mails", b"secret")


def test_a_scrape_tells_of_topics_groups_and_queues(store, registry):
    fill(store)
    registry.register(MsglogCollector(store, name="shop"))
    with store.broker.consume("mails") as consumer, store.log.share_consumer("orders", group="workers") as worker:
        consumer.get(0).ack()
        held = consumer.get(0)
        worker.poll(0, max_records=3)
        samples = scraped(registry)
        held.ack()
    one = {"store": "shop", "topic": "orders", "partition": "1"}
    assert value(samples, "msglog_topic_appended_records_total", **one) == 10
    assert value(samples, "msglog_topic_start_offset", **one) == 2
    assert value(samples, "msglog_topic_records", **one) == 8
    assert value(samples, "msglog_group_lag", group="billing", **one) == 6
    assert value(samples, "msglog_group_offset", group="billing", **one) == 4
    assert value(samples, "msglog_share_group_unsettled", store="shop", group="workers") == 3
    assert value(samples, "msglog_share_group_lag", group="workers", **one) == 8
    queue = {"store": "shop", "queue": "mails"}
    names = ("ready", "unsettled", "consumers", "published_total", "delivered_total", "settled_total")
    assert [value(samples, f"msglog_queue_{name}", **queue) for name in names] == [1, 1, 1, 3, 2, 1]
    assert value(samples, "msglog_commits_total", store="shop") == store.metrics()["commits"] - 1
    assert value(samples, "msglog_recovery_clean", store="shop") == 1


def test_a_partition_without_a_commit_has_no_lag(store, registry):
    fill(store)
    registry.register(MsglogCollector(store))
    with store.log.consumer("orders", group="new") as consumer:
        consumer.poll(0)
        samples = scraped(registry)
    assert [key for key in samples if key[0] == "msglog_group_lag" and ("group", "new") in key] == []
    assert value(samples, "msglog_group_members", store=store.path, group="new") == 1


def test_every_number_of_the_engine_is_told(store):
    told = {one.source for one in prometheus._STORE}
    metrics = store.metrics()
    assert told == {name for name, number in metrics.items() if isinstance(number, int)}
    assert {one.source for one in (*prometheus._RECOVERY, prometheus._SECONDS)} == metrics["recovery"].keys()
    fill(store)
    metrics = store.metrics()
    partition = metrics["topics"]["orders"]["partitions"][0]
    assert {one.source for one in prometheus._PARTITION} | {"partition"} == partition.keys()
    assert {one.source for one in prometheus._QUEUE} == metrics["queues"]["mails"].keys()


def test_both_formats_are_well_formed(store, registry):
    fill(store)
    registry.register(MsglogCollector(store))
    plain = list(parse(generate_latest(registry).decode()))
    strict = list(parse_openmetrics(openmetrics.generate_latest(registry).decode()))
    assert len(plain) == len(strict) == len(prometheus._families())
    for family in strict:
        assert family.documentation
        counters = {sample.name.endswith("_total") for sample in family.samples}
        assert counters <= {family.type == "counter"}


def test_names_of_users_are_escaped(store, registry):
    store.broker.declare_queue(EVIL)
    registry.register(MsglogCollector(store, name=f"{EVIL}\nin two lines"))
    assert value(scraped(registry), "msglog_queue_ready", store=f"{EVIL}\nin two lines", queue=EVIL) == 0


def test_counters_never_fall(store, registry):
    fill(store)
    registry.register(MsglogCollector(store))
    before = scraped(registry)
    with store.broker.consume("mails") as consumer:
        consumer.get(0).ack()
        consumer.get(0).nack()
    store.broker.purge_queue("mails")
    store.log.delete_records("orders", 1, -1)
    store.flush()
    after = scraped(registry)
    fallen = [key for key, number in before.items() if key[0].endswith("_total") and after[key] < number]
    assert fallen == []
    assert sum(after[key] > number for key, number in before.items() if key[0].endswith("_total")) >= 3


def test_several_stores_are_told_apart(store, registry, tmp_path):
    collector = MsglogCollector(store)
    with msglog.Store(tmp_path / "other", sync="none") as other:
        collector.add(other, name="other")
        registry.register(collector)
        for one in (store, other):
            one.broker.declare_queue("q")
        other.broker.send("q", b"x")
        samples = scraped(registry)
        assert value(samples, "msglog_queue_ready", store=store.path, queue="q") == 0
        assert value(samples, "msglog_queue_ready", store="other", queue="q") == 1
        with pytest.raises(msglog.InvalidOptionError):
            collector.add(other, name=store.path)
        collector.remove(other)
        collector.remove(other)
        assert {key for key in scraped(registry) if ("store", "other") in key} == set()


def test_a_registry_takes_one_collector(store, registry):
    collector = MsglogCollector(store)
    registry.register(collector)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(MsglogCollector(store, name="again"))
    registry.unregister(collector)
    registry.register(MsglogCollector(store, name="again"))
    assert value(scraped(registry), "msglog_failed", store="again") == 0


def test_closed_stores_are_left_out_and_their_names_are_free(registry, tmp_path):
    store = msglog.Store(tmp_path / "s", sync="none")
    collector = MsglogCollector(store)
    registry.register(collector)
    assert scraped(registry)
    store.close()
    assert scraped(registry) == {}
    with msglog.Store(tmp_path / "s", sync="none") as again:
        collector.add(again)
        assert scraped(registry)


def test_a_store_is_not_kept_alive(registry):
    store = msglog.Store(":memory:")
    collector = MsglogCollector(store)
    registry.register(collector)
    store.close()
    del store
    gc.collect()
    assert scraped(registry) == {}
    assert len(collector._stores) == 0


def test_several_subscriptions_to_one_queue_are_one_series(store, registry):
    store.broker.declare_queue("q")
    registry.register(MsglogCollector(store, name="s"))
    with store.broker.subscribe("q", lambda _: None, workers=2), store.broker.subscribe("q", lambda _: None):
        samples = scraped(registry)
    assert value(samples, "msglog_subscription_workers", store="s", group="", queue="q") == 3
    assert value(samples, "msglog_subscription_workers_alive", store="s", group="", queue="q") == 3


def test_a_scrape_while_stores_close_holds_whole_stores(registry):
    first = msglog.Store(":memory:")
    collector = MsglogCollector(first, name="0")
    registry.register(collector)
    done = threading.Event()

    def come_and_go():
        last = first
        for number in range(1, 100):
            following = msglog.Store(":memory:")
            following.broker.declare_queue("q")
            collector.add(following, name=str(number))
            last.close()
            last = following
        last.close()
        done.set()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    while not done.is_set():
        samples = scraped(registry)
        names = {key[1:] for key in samples if key[0] == "msglog_commits_total"}
        assert {key[1:] for key in samples if key[0] == "msglog_failed"} == names
    thread.join()
    assert scraped(registry) == {}


@pytest.mark.parametrize(("store", "name"), [(None, None), ("path", None)])
def test_bad_input_is_refused(store, name):
    with pytest.raises(msglog.InvalidTypeError):
        MsglogCollector(store, name=name)


def test_bad_names_are_refused(store):
    with pytest.raises(msglog.InvalidTypeError):
        MsglogCollector(store, name=7)


def test_the_page_lists_all_families_and_all_metrics(store):
    page = (Path(__file__).parents[2] / "docs/how-to/metrics.md").read_text()
    families = set(re.findall(r"`(msglog_\w+)`", page))
    assert families == prometheus._families().keys()
    assert [name for name in store.metrics() if not re.search(rf"^\| .*`{name}`.* \|", page, re.MULTILINE)] == []


WITHOUT = """
import sys
sys.modules["prometheus_client"] = None
try:
    import msglog.prometheus
except ImportError as error:
    print(error)
"""


def test_without_the_client_it_says_what_to_install():
    finished = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert "pip install 'msglog[prometheus]'" in finished.stdout


def test_msglog_does_not_import_the_client():
    code = "import sys, msglog; print('prometheus_client' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout == "False\n"
