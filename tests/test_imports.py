"""What is imported, and when: nothing that is not needed yet, everything before a store is opened.

Each in a fresh process; no times are taken.
"""

import json
import subprocess
import sys
import textwrap

import pytest

import msglog
from msglog.store.registration import model_factories, register_model
from support.children import child_environment

NOT_BY_MSGLOG = {
    "argparse", "ast", "asyncio", "concurrent.futures", "csv", "dataclasses", "datetime", "decimal", "email", "enum",
    "hashlib", "html", "http", "importlib.metadata", "importlib.resources", "inspect", "json", "logging", "pathlib",
    "random", "re", "socket", "subprocess", "tempfile", "threading", "typing", "urllib.parse", "uuid", "zipfile",
}  # fmt: skip
"""None of them for `import msglog` alone."""

NOT_BY_A_LOG = {
    "argparse", "asyncio", "concurrent.futures", "csv", "email", "gettext", "html", "http", "importlib.metadata",
    "importlib.resources", "locale", "multiprocessing", "secrets", "shutil", "socket", "subprocess",
    "tempfile", "uuid", "zipfile",
}  # fmt: skip
"""None of them for a log that is opened, appended to, read and closed."""

OF_MSGLOG_NOT_BY_A_LOG = {
    "msglog.aio", "msglog.cli", "msglog.prometheus",
    "msglog.salvaging", "msglog.storage.checking", "msglog.store.verifying", "msglog.testing",
}  # fmt: skip

OPEN_AND_APPEND = """
with msglog.Log({path!r}) as log:
    log.create_topic("t")
    log.append("t", b"1")
    assert [record.value for record in log.read("t")] == [b"1"]
"""


def modules_after(program: str) -> set[str]:
    """Return what a fresh process has imported after a program, and does not import by itself."""
    bare, after = (_modules(text) for text in ("", program))
    return after - bare


def _modules(program: str) -> set[str]:
    text = f"import sys\n{textwrap.dedent(program)}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", text], env=child_environment(), capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_msglog_alone_imports_nothing_else():
    found = modules_after("import msglog")
    assert found & NOT_BY_MSGLOG == set()
    assert {name for name in found if name.startswith("msglog.")} == set()


def test_catching_an_error_imports_errors_only():
    found = modules_after("import msglog; msglog.MsglogError")
    assert {name for name in found if name.startswith("msglog.")} == {"msglog.errors"}


def test_a_log_that_is_used_imports_no_more_than_it_needs(tmp_path):
    found = modules_after("import msglog" + OPEN_AND_APPEND.format(path=str(tmp_path / "store")))
    assert found & NOT_BY_A_LOG == set()
    assert found & OF_MSGLOG_NOT_BY_A_LOG == set()


@pytest.mark.parametrize("face", ["Log", "Broker", "Store"])
def test_whatever_is_imported_first_a_store_knows_all_sections_of_its_state(face, tmp_path):
    """A store with a broker that is opened as a log, and the other way round, keeps what it had of both."""
    path = str(tmp_path / "store")
    with msglog.Store(path) as store:
        store.broker.declare_queue("q")
        store.broker.send("q", b"message")
        store.log.create_topic("t")
        store.log.append("t", b"record")
    program = f"""
    import json
    import msglog
    with msglog.{face}({path!r}) as opened:
        store = getattr(opened, "store", opened)
        sections = list(store._core.engine.models)
        store.flush()
    print(json.dumps(sections))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    with msglog.Store(path) as store:
        assert json.loads(done.stdout) == list(store._core.engine.models), "sections, or their order"
        assert [queue.name for queue in store.broker.queues()] == ["q"]
        with store.broker.get("q") as delivery:
            assert delivery.body == b"message"
        assert [record.value for record in store.log.read("t")] == [b"record"]


def test_every_public_name_is_found():
    assert set(msglog.__all__) <= set(dir(msglog))
    assert [name for name in msglog.__all__ if getattr(msglog, name, None) is None] == []
    assert [
        name for name in msglog.__all__ if getattr(msglog, name) != vars(msglog).get(name, msglog.__version__)
    ] == []


def test_a_part_that_is_imported_again_after_an_interruption_announces_nothing_twice():
    before = model_factories()
    for factory in before:
        register_model(factory)
    assert model_factories() == before


def test_whatever_is_asked_for_packages_are_imported_before_their_modules():
    """Else two threads that ask for different names at once may wait for each other, and one of them fails."""
    program = """
    import builtins, os, sys
    import msglog

    original = builtins.__import__
    early = set()

    def watching(name, namespace=None, *rest):
        package = ".".join(name.split(".")[:2])
        importer = (namespace or {}).get("__name__", "")
        if name.startswith("msglog.") and package not in sys.modules and name != package:
            early.add(f"{name} by {importer}")
        return original(name, namespace, *rest)

    builtins.__import__ = watching
    for name in ("Store", "verify", "Log", "Broker", "Transaction", "salvage", "aio", "testing", "Retry", "json_of"):
        if os.fork() == 0:
            getattr(msglog, name)
            os._exit(len(early))
        _, status = os.wait()
        assert os.waitstatus_to_exitcode(status) == 0, name
    """
    modules_after(program)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Logg'"):
        _ = msglog.Logg


def test_salvage_is_the_function_whatever_was_imported_before():
    """A package of this name would take its place."""
    done = subprocess.run(
        [sys.executable, "-c", "import msglog.cli.commands.keeping, msglog; print(callable(msglog.salvage))"],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True\n"


def test_checksums_are_those_of_the_package_when_that_is_imported_before_or_later():
    for first, second in (("crc32c", "msglog.checksum"), ("msglog.checksum", "crc32c")):
        program = f"""
        import {first}, {second}
        import crc32c, msglog.checksum
        assert msglog.checksum.crc32c(b"123456789") == 0xE3069283
        assert msglog.checksum.crc32c is crc32c.crc32c
        """
        modules_after(program)


def test_a_package_of_checksums_that_another_thread_is_importing_is_waited_for(tmp_path):
    (tmp_path / "crc32c").mkdir()
    (tmp_path / "crc32c" / "__init__.py").write_text(
        "import sys\nsys.begun.set()\nsys.going_on.wait()\ndef crc32c(data, value=0): return 7\n"
    )
    program = f"""
    import sys
    import threading
    sys.path.insert(0, {str(tmp_path)!r})
    sys.begun, sys.going_on = threading.Event(), threading.Event()
    importing = threading.Thread(target=__import__, args=("crc32c",))
    importing.start()
    assert sys.begun.wait(30)
    threading.Timer(0.1, sys.going_on.set).start()
    import msglog.checksum
    assert msglog.checksum.crc32c(b"123456789") == 7
    importing.join()
    """
    modules_after(program)


def test_without_the_extension_where_it_is_looked_for_the_package_is_imported():
    program = """
    import importlib.machinery
    importlib.machinery.ExtensionFileLoader = type("ExtensionFileLoader", (), {})
    import msglog.checksum
    assert msglog.checksum.crc32c(b"123456789") == 0xE3069283
    """
    assert "crc32c" in modules_after(program)
    assert "crc32c" not in modules_after("import msglog.checksum")
