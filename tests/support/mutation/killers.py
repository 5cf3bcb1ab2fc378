"""All checks that kill mutants: each fails on its mutants and passes on the package as it is."""

from collections.abc import Callable
from importlib import import_module

MODULES = ("crash_killers", "damage_killers", "forged_killers", "system_killers", "api_killers", "tools_killers")
STORAGE_ONLY = MODULES[:4]
"""What checks the storage engine imports nothing above it."""


def killers_in(module: str) -> dict[str, Callable[[], None]]:
    """Return the checks of one module by name."""
    found: dict[str, Callable[[], None]] = import_module(f"support.mutation.{module}").KILLERS
    return found


def all_killers() -> dict[str, str]:
    """Return the names of all checks, with the module that each is in."""
    return {name: module for module in MODULES for name in killers_in(module)}
