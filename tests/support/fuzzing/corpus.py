"""The corpus: one folder for each target with one file for each input, in the repository."""

import hashlib
from pathlib import Path

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"
_SHARED = {"state": "store", "verify": "store", "salvage": "store"}
"""Targets that have the inputs of another one."""


def inputs_of(target: str) -> dict[str, bytes]:
    """Return the inputs of a target by name, sorted."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / _SHARED.get(target, target)).glob("*"))}


def save(target: str, name: str, data: bytes) -> Path:
    """Keep an input; without a name it gets one by its contents."""
    folder = CORPUS / _SHARED.get(target, target)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name or f"found-{hashlib.sha256(data).hexdigest()[:12]}")
    path.write_bytes(data)
    return path
