"""One mutation of the package's source, and how a process comes to run with it."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

PACKAGE = Path(__file__).parents[3] / "msglog"


@dataclass(frozen=True)
class Mutation:
    """A piece of safety code that is taken out or turned round.

    `file` is relative to the package. `find` must stand there exactly once and gives way to `put`. `killer` names the
    check that must fail then.
    """

    name: str
    file: str
    find: str
    put: str
    killer: str

    @property
    def root(self) -> Path:
        """The folder of the package."""
        return PACKAGE

    @property
    def module(self) -> str:
        """The name of the module that is changed."""
        return ".".join(("msglog", *Path(self.file).with_suffix("").parts))

    def place(self, source: str) -> range:
        """Return where the text stands in the source. Raises LookupError when it is not there exactly once."""
        found = source.count(self.find)
        if found != 1:
            raise LookupError(f"{self.name}: the text to find stands {found} times in {self.file}, not once")
        start = source.index(self.find)
        return range(start, start + len(self.find))

    def apply(self, source: str) -> str:
        """Return the changed source."""
        place = self.place(source)
        return source[: place.start] + self.put + source[place.stop :]

    def install(self) -> None:
        """Let this process import the package with the change. Nothing of the package may be imported yet."""
        if any(name.partition(".")[0] == "msglog" for name in sys.modules):
            raise AssertionError("the package is imported already")
        path = PACKAGE / self.file
        code = compile(self.apply(path.read_text()), str(path), "exec", dont_inherit=True)
        sys.meta_path.insert(0, _Finder(self.module, path, code))


def cut(file: str, find: str, killer: str, name: str) -> Mutation:
    """Return a mutation in which a call is not made: `find` begins with it, and it stands alone in its line."""
    _, newline, rest = find.partition("\n")
    return swap(file, find, f"pass{newline}{rest}", killer, name)


def swap(file: str, find: str, put: str, killer: str, name: str) -> Mutation:
    """Return a mutation in which something else stands in the place of `find`."""
    return Mutation(f"{name} ({file})", file, find, put, killer)


def not_raised(file: str, find: str, killer: str) -> Mutation:
    """Return a mutation in which an error is made and not raised. `find` begins with the raise, and tells it."""
    told = " ".join(find.partition("(")[2].split())
    return swap(file, find, find.removeprefix("raise "), killer, f"not raised: {told}")


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from code that was compiled before."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        super().__init__(name, str(path))
        self._code = code

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 the interface's
        return self._code


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the changed module; the others are found as always."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self._name = name
        self._path = path
        self._code = code

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 the interface's
        target: ModuleType | None = None,  # noqa: ARG002 the interface's
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        loader = _Loader(self._name, self._path, self._code)
        return importlib.util.spec_from_file_location(fullname, self._path, loader=loader)
