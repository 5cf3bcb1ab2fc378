"""Hypothesis profiles, by MSGLOG_HYPOTHESIS_PROFILE ("ci" or "torture"), and counts for the table of evidence."""

import gc
import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from support import evidence, folders, model_steps
from support.scale import scaled
from support.telling import tell

settings.register_profile(
    "ci",
    max_examples=scaled(100),
    stateful_step_count=50,
    # Examples touch files and threads on loaded machines: how long one takes says nothing.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # Every run searches anew, and a failure prints how to repeat it.
    derandomize=False,
    print_blob=True,
)
settings.register_profile("torture", parent=settings.get_profile("ci"), max_examples=10_000, stateful_step_count=200)
settings.load_profile(os.environ.get("MSGLOG_HYPOTHESIS_PROFILE", "ci"))


def pytest_configure(config: pytest.Config) -> None:
    # What a shell starts in the background has Ctrl-C ignored, and so would the programs that tests send it to.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    evidence.register(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests of all that would end the run: one core would wait for them."""
    items.sort(key=lambda item: item.path.parent.name != "typing")


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of later collections: tests ask for hundreds, of what they made."""
    gc.collect()
    gc.freeze()


folders.use_memory()
model_steps.install()


@pytest.fixture(autouse=True)
def _model_steps(record_property):
    """Tell how many steps a state machine made."""
    before = model_steps.executed()
    yield
    if (steps := model_steps.executed() - before) > 0:
        tell(record_property, model_steps=steps)
