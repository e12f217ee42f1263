"""Runs somebody's training command so that an interruption changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Optional

from paddle_resume.checkpoint.choose import AUTO, choose_together
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.phases import DONE
from paddle_resume.checkpoint.reader import Loaded
from paddle_resume.checkpoint.restored import MEMORY
from paddle_resume.found_state.uncaptured import is_installed, is_users, take_as_users
from paddle_resume.parallel.world import World
from paddle_resume.suites import loader_iterator
from paddle_resume.suites.adapters import ADAPTERS
from paddle_resume.suites.command import Command
from paddle_resume.suites.file_calls import take_file_calls
from paddle_resume.suites.loops import RunningLoops
from paddle_resume.suites.outputs import Outputs
from paddle_resume.suites.resume_from import is_wrapped, resume_from
from paddle_resume.suites.rewriting import RewrittenModules, find_program
from paddle_resume.suites.run import WrappedRun
from paddle_resume.suites.stack import StackReader
from paddle_resume.suites.takeover import (
    ignore_signals,
    take_loaders,
    take_logs,
    take_optimizers,
    take_saves,
    take_signals,
)
from paddle_resume.training.interrupt import SignalWatch
from paddle_resume.training.save_schedule import OFF, SaveSchedule
from paddle_resume.translations import shown


@dataclass(frozen=True)
class Options:
    """How a wrapped run is saved and gone on with."""

    save_dir: Path
    name: str
    schedule: SaveSchedule
    resume: str = "auto"
    overwrite: bool = False
    allow_inexact: bool = False
    any_program: bool = False
    """Whether a program that is of no known suite is taken too."""


def run_wrapped(arguments: Sequence[str], options: Options) -> None:
    """Run `SCRIPT ARGUMENTS...`, or `-m MODULE ARGUMENTS...`, from where it was interrupted, if it was.

    Raises PaddleResumeError for what cannot be gone on with; what the program raises comes out as it is.
    """
    find_program(arguments)
    world = World.beside_program()
    tell = partial(_tell, world.is_main)
    schedule = options.schedule
    looks_in_memory = schedule.memory_now != OFF
    engine = CheckpointEngine(options.save_dir, options.name, keep=schedule.keep, memory=looks_in_memory, world=world)
    engine.prepare()
    if options.resume == "none":
        engine.start_over(options.overwrite)
    loaded = on_disk = _chosen(engine, options, world)
    command = Command(arguments)
    if options.resume == AUTO:
        kept = engine.newest_in_memory(on_disk)
        # Another command goes on from disk, or is refused as it would be there.
        if kept is not None and all(world.gather(_continues(kept, command))):
            loaded = kept
    if loaded is None:
        engine.forget_memory()
    if loaded is not None and loaded.record.phase == DONE:
        command.require_same(loaded.record.owners.get("command"))
        tell(f"This run is complete ({loaded.record.step} batches): nothing is left to do.")
        engine.close()
        return
    saved = _saved_outputs(loaded, world)
    outputs = Outputs(options.save_dir, options.name, world.rank, saved, tell, keep=schedule.keep)
    loops = RunningLoops()
    modules = RewrittenModules(loops.begin, partial(_is_rewritten, options.any_program), _may_be_rewritten)
    for package in ("__main__", *(adapter.package for adapter in ADAPTERS)):
        take_as_users(package)
    signals = SignalWatch()
    run = WrappedRun(
        engine,
        schedule,
        command,
        StackReader(modules, loops, is_users),
        loops,
        outputs,
        adapters=ADAPTERS,
        any_program=options.any_program,
        loaded=loaded,
        source=MEMORY if loaded is not on_disk else str(on_disk.prefix) if on_disk is not None else "",
        allow_inexact=options.allow_inexact,
        signals=signals,
        world=world,
        tell=tell,
    )
    take_loaders(run.before_iterator, tell)
    take_optimizers(run.updated)
    take_saves(outputs.files)
    take_logs(outputs)
    take_file_calls(outputs.files)
    loader_iterator.ASKED[0] = run.asked
    sys.meta_path.insert(0, modules)
    with signals:
        take_signals()
        try:
            with world.together():
                modules.run_script(arguments)
        except SystemExit as end:
            if end.code not in (None, 0):
                if not world.is_single:
                    ignore_signals()
                run.close()
                raise
        except BaseException:
            run.close()
            raise
        run.finish()


def _continues(kept: Loaded, command: Command) -> bool:
    return is_wrapped(kept) and not command.differences_but_suite(kept.record.owners["command"])


def _chosen(engine: CheckpointEngine, options: Options, world: World) -> Optional[Loaded]:
    """The checkpoint that the run goes on from; None for a new run."""
    if options.resume == "none":
        return None
    choose_here = partial(resume_from, options.resume, engine.folder, engine.name)
    loaded, passed_over = choose_together(world, choose_here)
    for line in passed_over:
        _tell(True, f"Passed over {line}.")
    return loaded


def _saved_outputs(loaded: Optional[Loaded], world: World) -> Optional[Mapping[str, Any]]:
    """What the checkpoint tells of this process's logs; None for a new run."""
    if loaded is None:
        return None
    ranks = loaded.record.owners.get("outputs", {}).get("ranks", [])
    return ranks[world.rank] if world.rank < len(ranks) else {}


def _is_rewritten(any_program: bool, name: str, path: str) -> bool:
    if any(name in adapter.modules for adapter in ADAPTERS):
        return True
    return any_program and not is_installed(path)


def _may_be_rewritten(package: str) -> bool:
    return any(name.partition(".")[0] == package for adapter in ADAPTERS for name in adapter.modules)


def _tell(is_main: bool, text: str) -> None:
    if is_main or text.startswith("error"):
        print(f"paddle-resume: {shown(text)}", file=sys.stderr, flush=True)
