"""How a searching test tells how much it searched."""

import os
from collections.abc import Callable


def tell(record_property: Callable[[str, object], None], **counts: int) -> None:
    """Note numbers of cases in the report of the running test, and print them."""
    for name, count in counts.items():
        record_property(name, count)
    test = os.environ.get("PYTEST_CURRENT_TEST", "").split("::")[-1].removesuffix(" (call)")
    told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    print(f"{test}: {told}")  # noqa: T201 pytest -rP shows it
