"""What the reference shows of classes. Loaded by mkdocstrings, through griffe.

What a docstring calls not public is left out, a named tuple gets the signature that it has at run time, and an error
tells its attributes.
"""

import re
from typing import Any

import griffe

_NOT_PUBLIC = re.compile(r"\bnot\s+public\b", re.IGNORECASE)


class Reference(griffe.Extension):
    """Looks at each class once it is loaded."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Look at the members of one class."""
        for name, member in tuple(cls.members.items()):
            docstring = None if member.is_alias else member.docstring
            if docstring is not None and _NOT_PUBLIC.search(docstring.value):
                cls.del_member(name)
        if any(str(base) == "NamedTuple" for base in cls.bases):
            cls.set_member("__init__", _constructor(cls))
        if cls.module.path == "msglog.errors" and cls.docstring is not None:
            cls.docstring.value += _attributes(cls)


def _constructor(cls: griffe.Class) -> griffe.Function:
    parameters = [
        griffe.Parameter(
            field.name,
            annotation=field.annotation,
            default=field.value,
            kind=griffe.ParameterKind.positional_or_keyword,
        )
        for field in _fields(cls)
    ]
    itself = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
    return griffe.Function("__init__", parameters=griffe.Parameters(itself, *parameters))


def _attributes(cls: griffe.Class) -> str:
    plain = [field for field in _fields(cls) if field.value is None and field.docstring is None]
    told = [f"`{field.name}`: `{field.annotation}`" for field in plain]
    return f"\n\nIt has {', '.join(told)}." if told else ""


def _fields(cls: griffe.Class) -> list[Any]:
    return [member for member in cls.members.values() if member.is_attribute and member.annotation is not None]
