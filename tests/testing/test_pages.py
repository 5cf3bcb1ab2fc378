"""The tests on the pages about testing run, and pass."""

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ["replace-kafka-in-tests", "replace-rabbitmq-in-tests"])
def test_the_tests_on_a_page_pass(pytester, page):
    blocks = BLOCK.findall((HOW_TO / f"{page}.md").read_text())
    source = "\n".join(block for block in blocks if "print(" not in block)
    pytester.makepyfile(source)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-W", "error")
    assert result.parseoutcomes() == {"passed": source.count("\ndef test_")}
    assert source.count("\ndef test_") > 8
