"""A run of a program that knows nothing of it: stopped, saved and put back where it asks for its next batch."""

from __future__ import annotations

import sys
from collections.abc import Collection
from types import CodeType
from typing import Any, Callable, Optional

from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.phases import DONE, TRAIN
from paddle_resume.checkpoint.reader import Loaded
from paddle_resume.command_line import run_again
from paddle_resume.environment import Environment
from paddle_resume.errors import PaddleResumeError, StateError
from paddle_resume.parallel.per_rank import PerRank
from paddle_resume.parallel.world import World
from paddle_resume.rng import RandomStreams
from paddle_resume.stateful import Owners
from paddle_resume.suites.adapters import Adapter, recognised, require_proven
from paddle_resume.suites.cautions import TRACED, UNKNOWN_GENERATOR
from paddle_resume.suites.command import Command
from paddle_resume.suites.loader_iterator import LoaderIterator
from paddle_resume.suites.loops import RunningLoops
from paddle_resume.suites.outputs import Outputs
from paddle_resume.suites.position import Position
from paddle_resume.suites.program_state import ProgramState
from paddle_resume.suites.refusals import explain, not_there
from paddle_resume.suites.stack import Stack, StackReader
from paddle_resume.training.interrupt import Interruption, SignalWatch
from paddle_resume.training.save_schedule import SaveSchedule
from paddle_resume.training.saver import Saver

# Updates in a row that are made in another place, until it is told; a program may ask for single batches elsewhere.
_ELSEWHERE = 20


class EndOfRun(SystemExit):
    """Ends the program. No Exception: programs catch those around `next()`, and must not go on."""


class WrappedRun:
    """Is called whenever the program asks for a batch, and whenever an optimizer has made an update.

    The place at which a program trains is the one after which the first update comes. What is asked for elsewhere, such
    as by an evaluation, passes. In a process that goes on, the place is the one that the checkpoint names: when the
    program comes there first, all is put back to where it was, and the program does not notice.
    """

    def __init__(
        self,
        engine: CheckpointEngine,
        schedule: SaveSchedule,
        command: Command,
        reader: StackReader,
        loops: RunningLoops,
        outputs: Outputs,
        *,
        adapters: Collection[Adapter],
        any_program: bool,
        loaded: Optional[Loaded],
        source: str,
        allow_inexact: bool,
        signals: SignalWatch,
        world: World,
        tell: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._command = command
        self._reader = reader
        self._loops = loops
        self._outputs = outputs
        self._adapters = adapters
        self._any_program = any_program
        self._loaded = loaded
        self._source = source
        """What of `loaded` the engine is to restore."""
        self._allow_inexact = allow_inexact
        self._signals = signals
        self._world = world
        self._tell = tell
        self._saver = Saver(engine, schedule, landed=lambda _: outputs.files.log.is_durable(), tell=tell, world=world)
        self._wanted_site = loaded.record.owners["position"]["site"] if loaded is not None else None
        self._looked: dict[str, ProgramState] = {}
        """What may be the program's training, by the place: until an update tells."""
        self._program: Optional[ProgramState] = None
        self._last: Optional[ProgramState] = None
        self._position = Position()
        self._previous: Optional[LoaderIterator] = None
        self._given = 0
        self._owners = Owners()
        self._random = RandomStreams(stepped=False)
        self._elsewhere = 0
        self._later_optimizer: Any = None
        """One that has made an update, and was not seen yet from the program's variables."""
        self._cannot_be_saved = False

    def before_iterator(self) -> None:
        """The program is about to go through data: what its suite leaves aside has to be known by then."""
        for adapter in self._adapters:
            adapter.declare()

    def asked(self, iterator: LoaderIterator) -> LoaderIterator:
        """The program asks for a batch; returns the iterator that is to give it."""
        stack = self._reader.stack(sys._getframe(2), None if self._program is None else self._program.stack)
        if not stack.levels:
            return iterator
        try:
            return self._boundary(stack, iterator)
        except Interruption:
            raise self._stopped() from None
        except PaddleResumeError as error:
            raise self._failed(error) from error

    def updated(self, optimizer: Any) -> None:
        """An optimizer has changed the parameters."""
        if self._loaded is not None and self._previous is not None:
            raise self._failed(not_there(self._loaded))
        if self._program is None and self._last is not None:
            try:
                self._last.require_found(optimizer)
            except StateError as error:
                raise self._failed(error) from error
            self._take(self._last)
        elif self._program is not None:
            if not self._program.is_found(optimizer):
                self._later_optimizer = optimizer
            self._elsewhere = 0 if self._last is self._program else self._elsewhere + 1
            if self._elsewhere == _ELSEWHERE:
                self._tell_of_other_place(self._program)

    def finish(self) -> None:
        """The program has ended as it ends by itself."""
        program = self._program
        if self._loaded is not None:
            raise self._failed(not_there(self._loaded))
        if program is not None:
            self._count_given()
            owners = Owners(environment=Environment(), command=self._command, position=self._position)
            owners.update(self._of_model(program))
            step = self._position.step
            self._saver.begin(owners, step=step, tag=f"step{step}", epoch=None, phase=DONE)
            self._saver.collect(step, wait=True)
            self._outputs.files.complete(is_saved=self._saver.failed is None)
        elif self._last is None:
            self._tell(
                "The program has ended, and nothing of it was saved: it is of no known suite, or trained by no "
                "optimizer of Paddle's that asks a DataLoader for its batches. For a program of one's own give --auto."
            )
        self.close()

    def close(self) -> None:
        """Let go of what is written, however the program ended."""
        self._outputs.close()
        self._engine.close()

    def _boundary(self, stack: Stack, asked: LoaderIterator) -> LoaderIterator:
        if self._program is None:
            if self._last is not None and self._previous is not None:
                self._last.batches += self._previous.given - self._given
            key = repr(stack.site)
            if key not in self._looked and self._wanted_site in (None, stack.site):
                self._look(stack, asked, key)
            elif key in self._looked:
                self._looked[key].come_again(stack)
            self._last = self._looked.get(key)
            self._note(asked)
            if self._loaded is not None and self._last is not None:
                return self._restore(self._last)
            return asked
        here = self._program.come_again(stack)
        self._last = self._program if here else None
        if not here and self._elsewhere >= _ELSEWHERE:
            self._signals.check()  # Nothing is saved here, so there is nothing to wait for.
        if here:
            self._count_given()
            self._between_steps(asked)
            self._note(asked)
        return asked

    def _count_given(self) -> None:
        if self._previous is not None:
            self._position.step += self._previous.given - self._given

    def _note(self, asked: LoaderIterator) -> None:
        """The batch that `asked` gives now will have been made when the program asks again."""
        self._previous, self._given = asked, asked.given

    def _between_steps(self, asked: LoaderIterator) -> None:
        step = self._position.step
        self._saver.collect(step)
        may = not self._cannot_be_saved  # The same in all processes.
        agreed = self._world.agree(
            may and self._saver.is_due(step), self._signals.signum, may and self._saver.memory_is_due(step)
        )
        if agreed.save or (agreed.signum is not None and may):
            self._save(asked, self._saver.begin, tag=f"step{step}")
        elif agreed.memory:
            self._save(asked, self._saver.keep_in_memory)
        self._signals.check(self._world, agreed.signum)

    def _look(self, stack: Stack, asked: LoaderIterator, key: str) -> None:
        adapter = recognised(self._adapters, stack)
        if (adapter is None and not self._any_program) or self._reader.is_done_anew(stack):
            return  # Some loop of the suite's beside its training, or no suite's at all, which `finish` tells.
        if adapter is not None and not self._allow_inexact:
            require_proven(adapter, stack)
        self._reader.require_movable(stack)
        self._command.suite = f"{adapter.suite} {adapter.version}" if adapter is not None else ""
        self._looked[key] = ProgramState(self._reader, stack, asked, adapter, self._world)

    def _take(self, program: ProgramState) -> None:
        """This is where the program trains."""
        self._program = program
        self._looked.clear()
        self._position.site = program.site
        self._position.step = program.batches
        self._owners = self._all_owners(program)
        self._loops.keep_only(_loops_of(program.stack))
        self._tell_what_is_found(program)

    def _restore(self, program: ProgramState) -> LoaderIterator:
        self._take(program)
        self._loaded = None
        restored = self._engine.restore(self._owners, self._source, allow_inexact=self._allow_inexact, explain=explain)
        assert restored is not None
        asked = program.write_back(self._tell)
        self._note(asked)
        for each in restored.differences:
            self._tell(f"Goes on, inexact: {each}.")
        self._tell(f"Resumed from {restored.source}: {self._position.step} batches had been made.")
        return asked

    def _all_owners(self, program: ProgramState) -> Owners:
        owners = Owners(environment=Environment(), command=self._command, position=self._position)
        owners.update(program.owners)
        owners.add("outputs", PerRank(self._outputs, self._world))
        owners.add("rng", PerRank(self._random, self._world))
        return owners

    def _of_model(self, program: ProgramState) -> dict[str, Any]:
        return {name: owner for name, owner in program.owners.items() if name in program.of_model}

    def _save(self, asked: LoaderIterator, save: Callable[..., None], **options: Any) -> None:
        """Save by `save`, on disk or in memory.

        What cannot be saved ends nobody's training: it is told, and the checkpoints before it stay the last ones.
        """
        assert self._program is not None
        step = self._position.step
        try:
            with self._world.refused_together():
                self._program.before_save(asked)
                if self._later_optimizer is not None:
                    self._program.require_found(self._later_optimizer)
                self._outputs.before_save()
            with self._world.refused_together():
                save(self._owners, step=step, epoch=None, phase=TRAIN, **options)
            self._outputs.files.log.saves(on_disk=save == self._saver.begin)
        except StateError as error:
            self._cannot_be_saved = True
            self._tell(
                f"{error} From here on nothing is saved: the program goes on, and a resume makes again what comes "
                "after the last checkpoint."
            )
        finally:
            self._program.after_save()

    def _stopped(self) -> EndOfRun:
        step, signum = self._position.step, self._signals.signum
        self._saver.collect(step, wait=True)
        is_saved = self._saver.failed is None and not self._cannot_be_saved
        saved = "" if is_saved else " That step could not be saved."
        self._tell(f"Stopped after {step} batches.{saved} {run_again()}")
        self.close()
        return EndOfRun(128 + (signum or 15))

    def _failed(self, error: PaddleResumeError) -> EndOfRun:
        self._world.fail(error)
        self._tell(f"error: {error}")
        self.close()
        return EndOfRun(error.exit_code)

    def _tell_of_other_place(self, program: ProgramState) -> None:
        self._tell(
            f"The program trains in another place now than in {program.stack.told}, where it is saved. The last "
            "checkpoint there is what a resume goes on from: it makes again what comes after it."
        )

    def _tell_what_is_found(self, program: ProgramState) -> None:
        if self._world.is_main:
            suite, summary = self._command.suite or "A program of no known suite", program.survey.summary()
            told = f"{suite}, trained in {program.stack.told}{f'; {summary}' if summary else ''}."
            self._tell(f"{told} {TRACED}" if program.has_traced_code else told)
            if not self._random.state_dict()["whole"]:
                self._tell(UNKNOWN_GENERATOR)


def _loops_of(stack: Stack) -> set[tuple[CodeType, int]]:
    return {(level.frame.f_code, loop.first) for level in stack.levels for loop in level.loops if loop.is_for}
