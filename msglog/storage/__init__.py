"""Frames, segments, streams, commits, journal and recovery. Knows nothing of topics or queues.

The layers above use what is exported here; `engine` is the place to begin reading.
"""

import logging

from msglog.storage.commit import Commit
from msglog.storage.deferring import Deferral, in_force
from msglog.storage.engine import Engine
from msglog.storage.frame import Body, Frame, encode_body, encode_one
from msglog.storage.options import Options
from msglog.storage.reader import Reader
from msglog.storage.segment import SegmentFacts
from msglog.storage.state import CURSORS, Model
from msglog.storage.stream import Stream

__all__ = [
    "CURSORS",
    "Body",
    "Commit",
    "Deferral",
    "Engine",
    "Frame",
    "Model",
    "Options",
    "Reader",
    "SegmentFacts",
    "Stream",
    "encode_body",
    "encode_one",
    "in_force",
]

# Silent until the application says otherwise. It stands here, since whatever logs imports the engine.
logging.getLogger("msglog").addHandler(logging.NullHandler())
