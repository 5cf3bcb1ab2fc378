"""What tasks await, in C: to asyncio, and to whoever else meets it, it is a future that ends as its own do."""

import asyncio
import contextvars
import gc
import sys
import traceback
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from functools import partial
from inspect import unwrap
from typing import Any

import pytest

from msglog.transactions import compiled, looping
from support.mutants_of_c import compile_mutants, load_mutant
from support.tasks import turns
from support.telling import tell

pytestmark = pytest.mark.skipif(
    not compiled.is_compiled(), reason="installed without the compiled methods: no compiler, or no headers of Python"
)

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


class Struck(KeyboardInterrupt):
    """What ends a loop."""


class Ways:
    """How waits are made and ended: by a module, or in Python with futures of asyncio."""

    def __init__(self, module: Any) -> None:
        made = () if module is None else compiled.ways_of_looping(module)
        ways = {name: way for _, name, way in made}
        self._new_wait = ways.get("new_wait", unwrap(looping.new_wait))
        self.end_now = ways.get("end_waits", unwrap(looping.end_waits))

    def waits(self, number: int) -> list[Any]:
        """Make some for the running loop."""
        return [self._new_wait(asyncio.get_running_loop()) for _ in range(number)]

    async def end(self, waits: list[Any], error: BaseException | None = None) -> None:
        """Have the loop end some."""
        asyncio.get_running_loop().call_soon(self.end_now, waits, error)
        await turns(3)


def told(error: BaseException | None) -> object:
    """Return what an error says."""
    return error if error is None else (type(error), str(error))


async def outcome(awaitable: Any) -> object:
    """Return what comes of awaiting something, whatever it is."""
    try:
        return await awaitable
    except BaseException as error:  # noqa: BLE001 looked at
        return told(error)


def asked(call: Callable[[], object]) -> object:
    """Return what a call returns or raises."""
    try:
        return call()
    except BaseException as error:  # noqa: BLE001 looked at
        return told(error) if type(error) is not asyncio.InvalidStateError else type(error)


def state(wait: Any) -> list[object]:
    """Return all that it says of itself."""
    return [asyncio.isfuture(wait), wait.get_loop() is asyncio.get_running_loop(), wait.done(), wait.cancelled(),
            asked(wait.result), asked(wait.exception)]  # fmt: skip


async def going_on(ways: Ways, error: BaseException | None) -> AsyncIterator[object]:
    """Tasks that wait go on in their order, each in its context."""
    waits, order = ways.waits(3), []

    async def work(number: int) -> object:
        variable.set(f"of {number}")
        came = await outcome(waits[number])
        order.append(number)
        return came, variable.get(), asyncio.current_task() is tasks[number]

    tasks = [asyncio.create_task(work(number)) for number in (2, 0, 1)]
    tasks = [tasks[1], tasks[2], tasks[0]]
    await turns(2)
    yield [state(wait) for wait in waits]
    await ways.end(waits[:2], error)
    yield list(order), [task.done() for task in tasks], [state(wait) for wait in waits]
    await ways.end(waits)
    yield await asyncio.gather(*tasks), order, [state(wait) for wait in waits], variable.get()


async def cancelling(ways: Ways) -> AsyncIterator[object]:
    """A wait that is cancelled ends, the others go on; whoever is cancelled too late hears of it all the same."""
    waits = ways.waits(4)

    async def work(number: int) -> object:
        if number == 2:
            await waits[2]
            tasks[3].cancel("by another")
        try:
            return await waits[number]
        except asyncio.CancelledError as error:
            return "cancelled", error.args

    tasks = [asyncio.create_task(work(number)) for number in range(4)]
    await turns(2)
    tasks[0].cancel()
    tasks[1].cancel("with a message")
    yield [state(wait) for wait in waits]
    await turns(3)
    yield [task.done() for task in tasks], waits[0].cancel()
    await ways.end(waits)
    yield await asyncio.gather(*tasks), [state(wait) for wait in waits], waits[3].cancel()
    (alone,) = ways.waits(1)
    yield alone.cancel(msg="before anybody waits"), state(alone), await outcome(alone), alone.cancel()


async def too_early(ways: Ways) -> AsyncIterator[object]:
    """What has ended when it is awaited stops nobody."""
    for error in (None, ValueError("x")):
        (wait,) = ways.waits(1)
        await ways.end([wait], error)
        yield await outcome(wait), await outcome(wait), next(iter(wait.__await__()), "stops") if error is None else 0
        heard: list[bool] = []
        wait.add_done_callback(lambda one, heard=heard, wait=wait: heard.append(one is wait))
        yield list(heard)
        await turns(2)
        yield heard


async def callbacks(ways: Ways) -> AsyncIterator[object]:
    """Whoever asks is called, in the order of asking, in the context that was given or that was there."""
    for way in ("end", "cancel"):
        (wait,), heard = ways.waits(1), []
        own = contextvars.copy_context()
        own.run(variable.set, "own")

        def hear(name: str, one: object, heard: list[object] = heard, wait: object = wait) -> None:
            heard.append((name, variable.get(), one is wait))

        task = asyncio.create_task(outcome(wait))
        for number in range(2):
            wait.add_done_callback(partial(hear, f"before {number}"), context=own)
        await turns(2)
        variable.set("here")
        wait.add_done_callback(partial(hear, "after"))
        wait.add_done_callback(partial(hear, "none given"), context=None)
        yield await ways.end([wait]) if way == "end" else wait.cancel("why")
        await turns(3)
        yield heard, asked(task.result)
        variable.set("none")


async def around(ways: Ways) -> AsyncIterator[object]:
    """What asyncio puts around a coroutine works around one that waits."""
    waits = ways.waits(4)

    async def work(number: int) -> object:
        return await waits[number]

    yield await outcome(asyncio.wait_for(work(0), 0.01)), waits[0].cancelled()
    shielded = asyncio.create_task(outcome(asyncio.shield(work(1))))
    async with asyncio.TaskGroup() as group:
        group.create_task(work(2))
        await turns(2)
        shielded.cancel()
        await turns(2)
        yield shielded.done(), waits[1].done()
        await ways.end(waits)
    yield await shielded, await asyncio.gather(work(3), outcome(work(3)))


async def by_hand(ways: Ways) -> AsyncIterator[object]:
    """Without a task: it gives itself once."""
    (wait,) = ways.waits(1)
    given = wait.__await__()
    yield next(given) is wait, wait._asyncio_future_blocking
    yield type(asked_error(lambda: next(given)))
    wait._asyncio_future_blocking = False
    yield wait._asyncio_future_blocking
    for wrong in (
        wait.add_done_callback,
        lambda: wait.add_done_callback(print, print),
        lambda: wait.add_done_callback(print, other=None),
        lambda: wait.add_done_callback(print, context=None, other=None),
        lambda: wait.cancel(1, 2),
        ways.end_now,
        lambda: ways.end_now(5, None),
        lambda: ways.end_now([5], None),
    ):
        yield type(asked_error(wrong))
    ways.end_now([], None)
    ways.end_now([wait], None)
    yield wait.done()


def asked_error(call: Callable[[], object]) -> BaseException:
    """Return what a call raises."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 whatever it is
        call()
    return caught.value


async def removing(ways: Ways) -> AsyncIterator[object]:
    """Who does not want to be called any more is not; what asyncio does with several futures works."""
    one, other = waits = ways.waits(2)
    heard: list[str] = []

    def hear(_: object) -> None:
        heard.append("first")

    def hear_too(_: object) -> None:
        heard.append("second")

    for callback in (hear, hear_too, hear, hear, hear_too):
        one.add_done_callback(callback)
    yield one.remove_done_callback(print), one.remove_done_callback(hear), other.remove_done_callback(hear)
    one.add_done_callback(hear)
    (_, pending) = await asyncio.wait(waits, timeout=0.01)
    yield len(pending)
    for _ in range(2):
        gathered = asyncio.gather(asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED), *waits)
        await turns(2)
        await ways.end(waits)
        (done, pending), *results = await gathered
        yield len(done), len(pending), results, heard
    yield one.remove_done_callback(hear)


async def one_error(ways: Ways) -> AsyncIterator[object]:
    """Whoever hears of an error learns where it came from, and not where others heard of it."""
    waits, error = ways.waits(3), asked_error(lambda: int("x"))

    async def work(wait: Any) -> list[str]:
        raised = error if await outcome(wait) else None
        return [frame.f_code.co_name for frame, _ in traceback.walk_tb(raised and raised.__traceback__)]

    tasks = [asyncio.create_task(work(wait)) for wait in waits]
    await turns(2)
    await ways.end(waits, error)
    yield await asyncio.gather(*tasks)
    (untraced,) = ways.waits(1)
    await ways.end([untraced], KeyError())
    yield await outcome(untraced)


SCENARIOS: dict[str, Callable[[Ways], AsyncIterator[object]]] = {
    "going on": partial(going_on, error=None),
    "errors": partial(going_on, error=ValueError("x")),
    "cancelling": cancelling,
    "too early": too_early,
    "one error": one_error,
    "callbacks": callbacks,
    "around": around,
    "removing": removing,
    "by hand": by_hand,
}


@contextmanager
def patient_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Yield a loop that at its end waits for no tasks that are stuck."""
    loop = asyncio.new_event_loop()
    try:
        yield loop
    finally:
        loop.close()


def story(scenario: Callable[[Ways], AsyncIterator[object]], module: Any) -> list[object]:
    """Return what comes of a scenario."""

    async def main() -> list[object]:
        return [one async for one in scenario(Ways(module))]

    with patient_loop() as loop:
        return loop.run_until_complete(main())


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_is_what_a_future_of_asyncio_is(name):
    assert story(SCENARIOS[name], compiled._compiled_looping) == story(SCENARIOS[name], None)


def test_tasks_in_python_await_it_too():
    def in_python(loop: Any, work: Coroutine[Any, Any, Any], **more: Any) -> Any:
        return asyncio.tasks._PyTask(work, loop=loop, **more)  # type: ignore[attr-defined]

    async def main(scenario: Any, module: Any) -> list[object]:
        asyncio.get_running_loop().set_task_factory(in_python)
        return [one async for one in scenario(Ways(module))]

    for scenario in (SCENARIOS["going on"], SCENARIOS["errors"], cancelling, around):
        told = [asyncio.run(main(scenario, module)) for module in (compiled._compiled_looping, None)]
        assert told[0] == told[1]


def left_waiting(module: Any, at: int) -> object:
    """Return what becomes of four tasks that wait when one of them ends the loop, as a signal handler may."""
    ways, done = Ways(module), []

    async def work(wait: Any, number: int) -> None:
        await wait
        if number == at:
            raise Struck
        done.append(number)

    async def begin(loop: asyncio.AbstractEventLoop) -> list[Any]:
        waits = ways.waits(4)
        begun.extend(loop.create_task(work(wait, number)) for number, wait in enumerate(waits))
        await turns(2)
        return waits

    begun: list[asyncio.Task[None]] = []
    with patient_loop() as loop:
        waits = loop.run_until_complete(begin(loop))
        with pytest.raises(Struck):
            ways.end_now(waits, None)
        at_once = list(done)
        loop.run_until_complete(turns(3))
        return at_once, done, [type(task.exception()) if task.done() else "left" for task in begun]


@pytest.mark.parametrize("at", range(4))
def test_one_that_ends_the_loop_leaves_nobody_waiting(at):
    assert left_waiting(compiled._compiled_looping, at) == expected_of_one_that_ends_the_loop(at)


def expected_of_one_that_ends_the_loop(at: int) -> object:
    """Those before it went on at once, those behind it in the loop."""
    others = [number for number in range(4) if number != at]
    return others[:at], others, [Struck if number == at else type(None) for number in range(4)]


class Nesting(asyncio.SelectorEventLoop):
    """A loop that its tasks may run, as those of `nest_asyncio` and of windows that have a dialog in front."""

    def _run_once(self) -> None:
        ready = self._ready  # type: ignore[attr-defined]
        for _ in range(len(ready)):
            if ready:
                ready.popleft()._run()

    def run_within(self, task: asyncio.Task[Any]) -> None:
        """Let the others have their turns while this task runs."""
        asyncio.tasks._leave_task(self, task)  # type: ignore[attr-defined]
        for _ in range(3):
            self._run_once()
        asyncio.tasks._enter_task(self, task)  # type: ignore[attr-defined]


def seen_within(module: Any) -> list[int]:
    """Return how many tasks have gone on when each of some that run the loop goes on behind that."""
    ways, begun, seen = Ways(module), [], []

    async def work(loop: Nesting, wait: Any, number: int) -> None:
        await wait
        begun.append(number)
        loop.run_within(tasks[number])
        seen.append(len(begun))

    async def main(loop: Nesting) -> None:
        waits = ways.waits(4)
        tasks.extend(loop.create_task(work(loop, wait, number)) for number, wait in enumerate(waits))
        await turns(2)
        await ways.end(waits)
        await turns(5)

    tasks: list[asyncio.Task[None]] = []
    with closing(Nesting()) as loop:
        loop.run_until_complete(main(loop))
    assert begun == [0, 1, 2, 3]
    return seen


def test_a_task_that_runs_the_loop_finds_the_others_called():
    assert seen_within(compiled._compiled_looping) == seen_within(None) == [4] * 4


def tell_of_contexts_and_closed_loops(module: Any) -> None:
    """End waits in a context that is entered, and when the loop has gone."""
    ways = Ways(module)

    async def main() -> list[Any]:
        heard = []
        first, second = ways.waits(2)
        entered = contextvars.copy_context()
        first.add_done_callback(heard.append, context=entered)
        second.add_done_callback(heard.append)
        entered.run(ways.end_now, [first, second], None)
        assert heard == [second]
        await turns(2)
        assert heard == [second, first]
        (left,) = ways.waits(1)
        left.add_done_callback(heard.append)
        return [left]

    (left,) = asyncio.run(main())
    with pytest.raises(RuntimeError, match="closed"):
        left.cancel()
    assert left.cancelled()
    with pytest.raises(asyncio.CancelledError):
        left.result()


def test_a_context_that_is_entered_and_a_closed_loop_are_told():
    tell_of_contexts_and_closed_loops(compiled._compiled_looping)


@pytest.mark.parametrize("others", [0, 1])
def test_what_is_compared_may_end_the_wait(others):
    """Then the wait gives up what it kept; what is compared stays until that is over."""
    loop = asyncio.new_event_loop()
    loop.close()
    (wait,) = [Ways(compiled._compiled_looping)._new_wait(loop)]
    alive: list[bool] = []

    class Ending:
        def __eq__(self, other: object) -> bool:
            with pytest.raises(RuntimeError, match="closed"):
                wait.cancel()
            return NotImplemented

        __hash__ = None  # type: ignore[assignment]

    class Compared:
        def __eq__(self, other: object) -> bool:
            alive.append(reference() is not None)
            return False

        __hash__ = None  # type: ignore[assignment]

    for _ in range(others):
        wait.add_done_callback(print)
    ending = Ending()
    reference = weakref.ref(ending)
    wait.add_done_callback(ending)
    del ending
    assert wait.remove_done_callback(Compared()) == 0
    assert wait.cancelled()
    assert all(alive)


class Held:
    """What is held by who waits."""


def not_collected(module: Any) -> int:
    """Return how much stays of tasks and callbacks that nobody ends, when their loop has gone."""
    ways = Ways(module)

    async def work(wait: Any, held: Held) -> Held:
        await wait
        return held

    async def main() -> list[weakref.ref[Held]]:
        held = [Held() for _ in range(4)]
        for one, wait in zip(held, ways.waits(4), strict=True):
            task = asyncio.get_running_loop().create_task(work(wait, one))
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            if len(held) % 2:
                wait.add_done_callback([one].append)
        await turns(2)
        return [weakref.ref(one) for one in held]

    with patient_loop() as loop:
        references = loop.run_until_complete(main())
    gc.collect()
    return sum(reference() is not None for reference in references)


def test_what_nobody_ends_is_collected():
    assert not_collected(compiled._compiled_looping) == 0


def test_no_reference_is_kept_or_lost():
    ways = Ways(compiled._compiled_looping)
    error, message = ValueError("x"), "message"

    async def life() -> None:
        async for _ in going_on(ways, error):
            pass
        (wait,) = ways.waits(1)
        wait.add_done_callback(HEAR, context=CONTEXT)
        wait.add_done_callback(HEAR, context=CONTEXT)
        wait.cancel(message)
        await outcome(wait)

    async def main() -> list[list[int]]:
        held = [None, error, message, HEAR, CONTEXT, asyncio.get_running_loop(), compiled._compiled_looping]
        counts = []
        for _ in range(6):
            await life()
            await turns(2)
            error.__traceback__ = error.__context__ = None
            gc.collect()
            counts.append([sys.getrefcount(one) for one in held])
        return counts

    counts = asyncio.run(main())
    assert counts[-1][1:] == counts[2][1:]
    assert abs(counts[-1][0] - counts[2][0]) < 20


def HEAR(_: object) -> None:  # noqa: N802 counted above
    pass


CONTEXT = contextvars.copy_context()


def test_a_module_that_was_made_of_another_source_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled, "LOOPING", tmp_path / "none.c")
    assert compiled.is_compiled(), "as in a wheel, which has no source"
    (tmp_path / "none.c").write_text("something else")
    assert not compiled.is_compiled()


MUTATIONS = [
    ("if (wait->callback == NULL || wait->more != NULL)", "if (wait->callback == NULL)"),
    ("PyErr_Clear();", "return -1;"),
    ("find_left(waits, place + 1) < PyList_GET_SIZE(waits)", "0"),
    ("PyException_SetTraceback(error, trace == NULL ? Py_None : trace) == 0", "1"),
    ("if (error != Py_None) wait->trace = PyException_GetTraceback(error);", ""),
    ("if (wait->state != PENDING) continue;", ""),
    ("wait->state = ENDED;", "wait->state = PENDING;"),
    ("Py_XSETREF(wait->outcome, Py_NewRef(error));", "Py_XSETREF(wait->outcome, Py_NewRef(Py_None));"),
    ("message == Py_None", "1"),
    ("PyErr_SetObject((PyObject *)Py_TYPE(error), error);", "PyErr_SetNone(PyExc_ValueError);"),
    ("!wait->awaited", "1"),
    ("wait->awaited = wait->blocking = 1;", "wait->awaited = 1;"),
    ("((Wait *)self)->state == CANCELLED", "0"),
    ("((Wait *)self)->state != PENDING", "1"),
    ("PyContext_CopyCurrent()", "PyContext_New()"),
    ("wait->callback != NULL || wait->more != NULL", "wait->callback != NULL"),
    ("if (wait->state != PENDING) Py_RETURN_FALSE;", ""),
    ("wait->state = CANCELLED;", "wait->state = ENDED;"),
    ("Py_XSETREF(wait->outcome, Py_NewRef(message));", "Py_XSETREF(wait->outcome, Py_NewRef(Py_None));"),
    ("if (call_each_soon(wait) < 0) return NULL;", ""),
    ("place += same == 0", "place++"),
    ("removed += same > 0;", ""),
    ("Py_VISIT(wait->callback);", ""),
]
"""Steps of the source that something depends on, and what stands there when they are forgotten or wrong."""


@pytest.fixture(scope="module")
def mutants(tmp_path_factory):
    return compile_mutants(compiled.LOOPING, MUTATIONS, tmp_path_factory.mktemp("mutants"))


def is_wrong(module: Any) -> bool:
    """Whether anything is not as it has to be."""
    try:
        tell_of_contexts_and_closed_loops(module)
        return (
            any(story(scenario, module) != story(scenario, None) for scenario in SCENARIOS.values())
            or any(left_waiting(module, at) != expected_of_one_that_ends_the_loop(at) for at in range(4))
            or seen_within(module) != [4] * 4
            or not_collected(module) > 0
        )
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 as good as another story
        return True


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("number", range(-1, len(MUTATIONS)))
def test_each_step_of_the_source_is_missed_when_it_is_wrong(number, mutants, tmp_path, record_property):
    """But for the first one, which is the source as it is."""
    assert is_wrong(load_mutant(mutants, number, "transactions", tmp_path)) is (number >= 0), MUTATIONS[number]
    if number >= 0:
        tell(record_property, mutants_killed=1)
