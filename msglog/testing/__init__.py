"""What tests of applications use: a clock that is moved by hand."""

from msglog.clock import ManualClock

__all__ = ["ManualClock"]
