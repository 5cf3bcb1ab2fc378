"""The worlds that a simulated store went through, and which of them an end of the process may lead back to.

Every call is a step from one world to the next, known by the number of the last commit it made. A store that comes back
after an end says which commit is its last: that one names the world, and the world must be what the store shows.
"""

from dataclasses import dataclass

from support.simulated_world import World


@dataclass
class Step:
    """One call: the world it leads to, the number of its last commit (None: it did not return), and what it was.

    `loose` ones make several commits or take things whose choice is the store's: in the middle of them parts of the
    world may have changed and others not. `kept`: it has returned, and its effect survives a loss of power, although
    perhaps not what it brought about: that may be done again at the next opening.
    """

    world: World
    number: int | None
    what: str
    loose: bool = False
    kept: bool = False


@dataclass(frozen=True)
class Candidate:
    """A world that may be there, and the one before it where the step between them may have been cut in the middle."""

    world: World
    before: World | None = None
    index: int = 0


class Chronicle:
    """All steps so far. `promised` is the number of a commit that no loss of power undoes."""

    def __init__(self, world: World) -> None:
        self.steps = [Step(world, 0, "nothing")]
        self.promised = 0
        # The oldest commit that may be the last one that comes back, and what a recovery that was cut off has found.
        self._least: int | None = None
        self._recovered: int | None = None

    @property
    def last(self) -> Step:
        """The latest step."""
        return self.steps[-1]

    @property
    def written(self) -> int:
        """The number of the last commit of the last call that returned."""
        return max(step.number for step in self.steps if step.number is not None)

    def begin(self, world: World, what: str, *, loose: bool = False) -> Step:
        """A call begins that leads to this world."""
        step = Step(world, None, what, loose)
        self.steps.append(step)
        return step

    def wrote(self, number: int) -> None:
        """The last call returned."""
        self.last.number = number

    def keep(self) -> None:
        """From now on no loss of power undoes what the last call has done, nor anything before it."""
        before = max(step.number for step in self.steps[:-1] if step.number is not None)
        if self.last.number is not None and self.last.number > before:
            self.last.kept = True
            self.promise(before + 1)

    def promise(self, number: int) -> None:
        """From now on no loss of power undoes the commits up to this number."""
        self.promised = max(self.promised, number)

    def forget_interrupted(self) -> None:
        """The last call turned out to have had no effect."""
        if self.last.number is not None:
            raise AssertionError("only a call that did not return can be forgotten")
        self.steps.pop()

    def end(self, *, power_lost: bool) -> None:
        """The process ended, or the machine did."""
        least = self.promised if power_lost else self.written
        self._least = least if self._least is None else min(self._least, least)

    def came_back(self, found: int) -> list[Candidate]:
        """Return which worlds may be there in a store that says its last commit was number `found`."""
        least = self._least or 0
        if found < least:
            lost = next(step.what for step in self.steps if step.number is not None and step.number >= least)
            raise AssertionError(f"commit {least} was promised ({lost}), {found} is the last one")
        if self._recovered is not None:
            found = min(found, self._recovered)  # the rest are commits of the opening itself
        self._recovered = found
        numbered = [place for place, step in enumerate(self.steps) if step.number is not None]
        exact = [place for place in numbered if self.steps[place].number == found]
        if exact:
            return [Candidate(self.steps[exact[-1]].world, None, exact[-1])]
        after = next((place for place in numbered if (self.steps[place].number or 0) > found), len(self.steps) - 1)
        if (self.steps[after].number or found) < found:
            raise AssertionError(f"commit {found} was never made: the last one was {self.steps[after].number}")
        step, before = self.steps[after], self.steps[after - 1]
        candidates = [Candidate(step.world, before.world if step.loose else None, after)]
        return candidates if step.kept else [*candidates, Candidate(before.world, None, after - 1)]

    def settle(self, candidate: Candidate, world: World) -> None:
        """What came back is known. Whether it is durable is another question.

        What the opening does comes after it: another end may undo that.
        """
        assert self._recovered is not None
        del self.steps[candidate.index + 1 :]
        self.last.number, self.last.world = self._recovered, world
        self.promised = min(self.promised, self._recovered)
        self._least = self._recovered = None
