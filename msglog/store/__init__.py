"""One open directory: options, sharing within the process, lifecycle, and what the models above register.

Imported by the models (`log`) and by users through `msglog`; imports `storage` and below, never a model.
"""

from msglog.store.core import StoreCore
from msglog.store.face import StoreFace
from msglog.store.options import StoreOptions
from msglog.store.registration import (
    Check,
    Claim,
    Service,
    register_call,
    register_check,
    register_face,
    register_measure,
    register_model,
    register_service,
    register_tables,
)
from msglog.store.store import Closeable, Store

__all__ = [
    "Check",
    "Claim",
    "Closeable",
    "Service",
    "Store",
    "StoreCore",
    "StoreFace",
    "StoreOptions",
    "register_call",
    "register_check",
    "register_face",
    "register_measure",
    "register_model",
    "register_service",
    "register_tables",
]
