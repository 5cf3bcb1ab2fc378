"""Saving what can be read of a damaged store into a new one.

`loading` finds streams and state whatever is damaged, `mending` makes the state fit what is left, `copying` writes the
segments without what is damaged, `salvage` puts them together. A layer above both models, since only they know what
their streams mean. Exported by `msglog`.
"""

from msglog.salvaging.salvage import salvage

__all__ = ["salvage"]
