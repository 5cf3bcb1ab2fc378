"""The pytest plugin, in runs of pytest of its own."""

import subprocess
import sys

import pytest

from msglog.testing import fixtures  # here, so that runs in this process find it

pytest_plugins = ["pytester"]

# What follows is written by pytest, or depends on what else is installed.
QUIET = ("-p", "no:cacheprovider", "-p", "no:randomly", "-W", "error")


@pytest.fixture
def run(pytester):
    """Run tests in this process, quietly, and return what came of them."""

    def run_tests(source, *arguments, **files):
        if files:
            pytester.makepyfile(**files)
        pytester.makepyfile(source)
        return pytester.runpytest_inprocess(*QUIET, *arguments)

    return run_tests


def outcomes(result):
    return {name: count for name, count in result.parseoutcomes().items() if name != "warnings"}


def test_each_test_has_a_store_of_its_own(run):
    result = run(
        """
        import pytest

        @pytest.mark.parametrize("number", range(3))
        def test_it(msglog_store, msglog_log, msglog_broker, msglog_clock, number):
            assert msglog_store.path == ":memory:"
            assert msglog_log.store is msglog_broker.store is msglog_store
            assert msglog_log.topics() == []
            msglog_log.create_topic("t")
            assert msglog_log.append("t", b"v").timestamp_ms == msglog_clock.now_ms() == 1_700_000_000_000
            msglog_broker.declare_queue("q")
            msglog_broker.send("q", b"m", delay_ms=60_000)
            assert msglog_broker.get("q") is None
            msglog_clock.advance(seconds=60)
            assert msglog_broker.get("q").body == b"m"
        """
    )
    assert outcomes(result) == {"passed": 3}


def test_recorder_and_faults_are_those_of_the_store(run):
    result = run(
        """
        import msglog, pytest

        def test_it(msglog_log, msglog_recorder, msglog_faults):
            msglog_log.create_topic("t")
            msglog_faults.fail("append", topic="t")
            with pytest.raises(msglog.DiskFullError):
                msglog_log.append("t", b"lost")
            msglog_log.append("t", b"kept")
            assert [one.value for one in msglog_recorder.appended] == [b"kept"]
            msglog_faults.fail("append", times=None)

        def test_another(msglog_log):
            msglog_log.create_topic("t")
            msglog_log.append("t", b"nothing fails any more")
        """
    )
    assert outcomes(result) == {"passed": 2}


def test_a_failed_assertion_reads_well(run):
    result = run(
        """
        def test_it(msglog_broker, msglog_recorder):
            msglog_broker.publish("", "q", b"hello")
            msglog_recorder.assert_published("", "q", b"hullo")
        """
    )
    assert outcomes(result) == {"failed": 1}
    result.stdout.fnmatch_lines(
        [
            "E*AssertionError: no message was published with exchange='', routing_key='q', body=b'hullo'; there is:",
            "E*1. exchange='' routing_key='q' body=b'hello' -> no queue",
            "E*nearest: 1. differs in body: b'hello', not b'hullo'",
        ]
    )


def test_a_mark_says_how_the_store_is_opened(run):
    result = run(
        """
        import os, pytest

        pytestmark = pytest.mark.msglog(storage="disk", sync="none")

        def test_on_disk(msglog_store, tmp_path):
            assert os.path.isdir(msglog_store.path)
            assert not os.listdir(tmp_path)
            assert "sync='none'" in repr(msglog_store)

        @pytest.mark.msglog(sync="interval", segment_bytes=4096)
        def test_the_closest_mark_counts(msglog_store):
            assert os.path.isdir(msglog_store.path)
            assert "sync='interval'" in repr(msglog_store)
            msglog_store.log.create_topic("t")
            msglog_store.log.append_many("t", [b"v" * 1000 for _ in range(20)], partition=0)
            msglog_store.log.append("t", b"v" * 3000)
            assert msglog_store.log.describe_topic("t").partitions[0].segments > 1

        @pytest.mark.msglog(storage="memory")
        def test_in_memory(msglog_store):
            assert msglog_store.path == ":memory:"
        """,
        "--strict-markers",
    )
    assert outcomes(result) == {"passed": 3}


def test_the_configuration_says_how_stores_are_opened(pytester):
    pytester.makeini("[pytest]\nmsglog_storage = disk\nmsglog_sync = interval\n")
    pytester.makepyfile(
        """
        import pytest

        def test_on_disk(msglog_store):
            assert "sync='interval'" in repr(msglog_store)
            assert msglog_store.path != ":memory:"

        @pytest.mark.msglog(storage="memory")
        def test_a_mark_has_the_last_word(msglog_store):
            assert msglog_store.path == ":memory:"
        """
    )
    assert outcomes(pytester.runpytest_inprocess(*QUIET)) == {"passed": 2}


@pytest.mark.parametrize(
    ("mark", "says"),
    [
        ("storage='ram'", "*storage='ram'; allowed: one of 'memory', 'disk'*"),
        ("'disk'", '@pytest.mark.msglog takes options by name only, as in storage="disk"'),
        ("path='x'", "*: option='path'; allowed: as options of the mark or the configuration: background_errors, *"),
        ("readonly=True", "*option='readonly'; allowed: *"),
        ("sync='never'", "*sync='never'; allowed: *"),
        ("background_errors=1", "*background_errors must be one of 'fail', 'ignore', not 1*"),
    ],
)
def test_a_mark_that_makes_no_sense_is_refused(run, mark, says):
    result = run(f"import pytest\n@pytest.mark.msglog({mark})\ndef test_it(msglog_store): pass\n")
    assert outcomes(result) == {"errors": 1}
    result.stdout.fnmatch_lines([says])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*fixtures.py*")


def test_another_clock_may_be_given(run):
    result = run(
        """
        import msglog, pytest

        @pytest.fixture
        def msglog_clock():
            return msglog.SystemClock()

        def test_it(msglog_log):
            msglog_log.create_topic("t")
            assert msglog_log.append("t", b"v").timestamp_ms > 1_700_000_000_000
        """
    )
    assert outcomes(result) == {"passed": 1}


def test_a_store_on_a_simulated_disk_can_crash(run):
    result = run(
        """
        import pytest

        @pytest.mark.msglog(sync="interval")
        def test_it(msglog_disk, msglog_log, msglog_recorder):
            msglog_log.create_topic("t")
            msglog_log.append("t", b"v")
            msglog_disk.crash(power_loss=True)
            assert msglog_disk.open().log.topics() == []
        """
    )
    assert outcomes(result) == {"passed": 1}


def test_what_a_test_leaves_open_is_ended(run):
    result = run(
        """
        import threading

        before = set(threading.enumerate())  # in this process other tests ran
        left = []

        def test_it(msglog_store, msglog_log, msglog_broker):
            msglog_log.create_topic("t")
            msglog_broker.declare_queue("q")
            msglog_broker.publish_many("", [("q", b"1"), ("q", b"2")])
            msglog_broker.get("q")
            left.append(msglog_log.consumer("t", group="g"))
            left[-1].poll(0)
            left.append(msglog_log.share_consumer("t", group="s"))
            left.append(msglog_broker.consume("q"))
            left[-1].get(0)
            left.append(msglog_broker.channel())
            left[-1].basic_consume("q")
            left.append(msglog_log.producer("p"))
            msglog_log.subscribe("t", group="h", callback=print)
            msglog_broker.subscribe("q", print)

        def test_no_thread_is_left():
            assert [t.name for t in set(threading.enumerate()) - before if t.name.startswith("msglog")] == []
        """
    )
    assert outcomes(result) == {"passed": 2}


def test_a_store_that_was_closed_is_left_alone(run):
    assert outcomes(run("def test_it(msglog_store): msglog_store.close()")) == {"passed": 1}


def test_a_callback_that_never_ends_is_left_behind_and_told(run, monkeypatch):
    monkeypatch.setattr(fixtures, "CLOSE_SECONDS", 0.05)
    result = run(
        """
        import threading

        going_on = threading.Event()
        begun = threading.Event()

        def work(delivery):
            begun.set()
            going_on.wait(60)

        def test_it(msglog_broker):
            msglog_broker.declare_queue("q")
            msglog_broker.subscribe("q", work)
            msglog_broker.send("q", b"m")
            assert begun.wait(30)

        def test_next(msglog_store):
            going_on.set()
        """
    )
    assert outcomes(result) == {"passed": 2, "errors": 1}
    result.stdout.fnmatch_lines(["a callback still runs * s after the end of the test: <msglog.QueueSubscription *"])


FAILING_CALLBACK = """
    import msglog, pytest, threading

    def fail(delivery):
        raise ValueError("nobody would hear of this")

    {mark}
    def test_it(msglog_broker, msglog_recorder):
        msglog_broker.declare_queue("q")
        msglog_broker.subscribe("q", fail, on_error="reject")
        msglog_broker.send("q", b"m")
        msglog_recorder.assert_rejected("q", timeout=30)

    def test_next(msglog_store):
        pass
"""


def test_an_exception_in_a_callback_fails_the_test(run):
    result = run(FAILING_CALLBACK.format(mark=""))
    assert outcomes(result) == {"passed": 2, "errors": 1}
    result.stdout.fnmatch_lines(
        [
            "msglog had errors in the background while the test ran, which *",
            "a message of queue 'q' is rejected: attempt 1 failed, and there are no more",
            "Traceback (most recent call last):",
            '    raise ValueError("nobody would hear of this")',
            "ValueError: nobody would hear of this",
        ]
    )


def test_what_a_fault_has_caused_fails_no_test(run):
    result = run(
        """
        import msglog

        def test_it(msglog_log, msglog_broker, msglog_recorder, msglog_faults):
            def work(delivery):
                try:
                    msglog_log.append("t", delivery.body)
                except msglog.DiskFullError as error:
                    raise RuntimeError("not now") from error

            msglog_log.create_topic("t")
            msglog_broker.declare_queue("q")
            msglog_broker.subscribe("q", work, on_error=msglog.Retry(delay_ms=0))
            msglog_faults.fail("append")
            msglog_broker.send("q", b"job")
            msglog_recorder.assert_requeued("q", timeout=30)
            msglog_recorder.assert_acked("q", timeout=30)
        """
    )
    assert outcomes(result) == {"passed": 1}


def test_exceptions_in_callbacks_can_be_ignored(run, pytester):
    mark = '@pytest.mark.msglog(background_errors="ignore")'
    assert outcomes(run(FAILING_CALLBACK.format(mark=mark))) == {"passed": 2}
    pytester.makeini("[pytest]\nmsglog_background_errors = ignore\n")
    assert outcomes(run(FAILING_CALLBACK.format(mark=""))) == {"passed": 2}


def test_tests_run_side_by_side(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(5))
        @pytest.mark.msglog(storage="disk")
        def test_it(msglog_log, number):
            assert msglog_log.topics() == []
            msglog_log.create_topic("t")
            assert msglog_log.append("t", b"v").offset == 0
        """
    )
    result = pytester.runpytest_subprocess(*QUIET, "-p", "no:hypothesispytest", "-n", "2")
    assert outcomes(result) == {"passed": 5}


def test_nothing_of_msglog_is_imported_before_a_test_asks_for_it(pytester):
    pytester.makeconftest("import sys\nassert 'pytest_msglog' in sys.modules\nassert 'msglog' not in sys.modules\n")
    pytester.makepyfile(
        """
        import sys

        def test_nothing_yet():
            assert "msglog" not in sys.modules

        def test_now(msglog_clock):
            assert "msglog" in sys.modules
        """
    )
    result = pytester.runpytest_subprocess(*QUIET, "-p", "no:xdist", "-p", "no:hypothesispytest")
    assert outcomes(result) == {"passed": 2}


def test_importing_the_plugin_imports_pytest_alone():
    code = (
        "import sys, pytest; before = set(sys.modules); import pytest_msglog;print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['pytest_msglog']\n"


def test_msglog_is_imported_as_it_is(pytester):
    """As it is installed from a wheel, pytest knows that plugin and msglog belong together."""
    pytester.makepyfile(
        conftest="""
            import pytest

            def pytest_configure(config):
                assert "msglog" not in config.pluginmanager.rewrite_hook._must_rewrite
        """,
        early="""
            import _pytest.config

            iterate = _pytest.config._iter_rewritable_modules
            _pytest.config._iter_rewritable_modules = lambda files: [*iterate(files), "msglog"]
        """,
        test_it="""
            import msglog

            def test_it():
                assert "Rewriting" not in type(msglog.__spec__.loader).__name__
        """,
    )
    arguments = ["-q", "-p", "no:hypothesispytest", "-p", "no:xdist", "test_it.py"]
    code = f"import early, pytest; raise SystemExit(pytest.main({arguments}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_plugin_can_be_kept_away(run):
    result = run("def test_it(msglog_store): pass", "-p", "no:msglog")
    assert outcomes(result) == {"errors": 1}
    result.stdout.fnmatch_lines(["*fixture 'msglog_store' not found"])


def test_the_fixtures_explain_themselves(run):
    result = run("", "--fixtures")
    result.stdout.fnmatch_lines(["msglog_store -- *", "    Return an open store of the test's own*"])
    result = run("", "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.msglog(storage='memory', background_errors='fail', [*][*]options):*"])


def test_a_failed_assertion_shows_the_test_and_not_the_inside_of_the_kit(run):
    result = run(
        """
        def test_it(msglog_recorder):
            msglog_recorder.assert_published("orders")

        def test_count(msglog_log, msglog_recorder):
            msglog_log.create_topic("t")
            msglog_log.append("t", None, key=b"k")
            msglog_recorder.assert_appended("t", value=lambda value: value.decode())
        """
    )
    assert outcomes(result) == {"failed": 2}
    result.stdout.fnmatch_lines(["E * no message was published with exchange='orders'; there is nothing at all"])
    result.stdout.fnmatch_lines(["E * AttributeError: 'NoneType' object has no attribute 'decode'"])
    result.stdout.no_fnmatch_line("*recording.py*")
    result.stdout.no_fnmatch_line("*matching.py*")


def test_bytes_that_a_view_leaves_out_or_rejects_are_no_error_of_the_test(run):
    result = run(
        """
        import msglog

        def test_topic(msglog_log):
            msglog_log.create_topic("t")
            msglog_log.append("t", b"{")
            assert list(msglog_log.topic("t", value=msglog.JSON, on_decode_error="skip").read()) == []

        def test_queue(msglog_broker, msglog_recorder):
            msglog_broker.declare_queue("q")
            msglog_broker.send("q", b"{")
            view = msglog_broker.queue("q", body=msglog.JSON, on_decode_error="reject")
            view.subscribe(lambda delivery: None)
            msglog_recorder.assert_rejected("q", timeout=30)

        def test_raise(msglog_broker, msglog_recorder):
            msglog_broker.declare_queue("q")
            msglog_broker.send("q", b"{")
            msglog_broker.queue("q", body=msglog.JSON).subscribe(lambda delivery: None, on_error=msglog.Retry(limit=0))
            msglog_recorder.assert_rejected("q", timeout=30)
        """
    )
    assert outcomes(result) == {"passed": 3, "errors": 1}
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_raise*"])


def test_what_a_crash_does_to_callbacks_is_no_error_of_the_test(run):
    result = run(
        """
        import threading

        import msglog, pytest

        interval = pytest.param("interval", marks=pytest.mark.msglog(sync="interval"))

        @pytest.mark.parametrize("sync", ["commit", interval])
        @pytest.mark.parametrize("bug", [False, True])
        def test_it(msglog_disk, msglog_broker, bug, sync):
            msglog_broker.declare_queue("q")
            msglog_broker.publish_many("", [("q", b"m")] * 2)
            both, crashed = threading.Barrier(3), threading.Event()

            def callback(delivery):
                both.wait(30)
                crashed.wait(30)
                if bug:
                    raise RuntimeError("a bug")
                msglog_broker.send("q", b"more")

            msglog_broker.subscribe("q", callback, workers=2)
            both.wait(30)
            msglog_disk.crash()
            crashed.set()
            with msglog_disk.open() as store:
                assert store.broker.get("q").body == b"m"
        """
    )
    assert outcomes(result) == {"passed": 4, "errors": 2}
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_it?True-*", "RuntimeError: a bug"])
    assert not [line for line in result.outlines if "ERROR at teardown of test_it[False" in line]
