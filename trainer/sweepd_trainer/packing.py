"""The trials of a pack: trained together in one process, each a run of its own.

The agent names them in a folder and reads there how they do; docs/trainer.md has the contract.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import wandb

from sweepd.errors import InvalidInput, SweepdError
from sweepd_trainer.course import Course, Fitted
from sweepd_trainer.data import Data
from sweepd_trainer.device import determinism, let_hurry, pick_device, seed_everything
from sweepd_trainer.evaluation import Diverged
from sweepd_trainer.feed import has_room
from sweepd_trainer.flops import utilisation
from sweepd_trainer.job import Job, build_trainer
from sweepd_trainer.loop import Progress, Trainer
from sweepd_trainer.measuring import PackMeasuring
from sweepd_trainer.pack import Pack
from sweepd_trainer.pack_check import Refused, check_client, check_trainers, check_values
from sweepd_trainer.pack_folder import Member, PackFolder
from sweepd_trainer.pack_step import set_apart
from sweepd_trainer.task import Score
from sweepd_trainer.tracking import Stop, begin, check_not_over, end
from sweepd_trainer.watch import Histogram, Watcher

__all__ = ["train_pack"]

Values = Mapping[str, Any]
Read = Callable[[Values, Data | None], Job]

#: Runs that send the rest of their data at the same time.
_N_ENDING = 16


def train_pack(path: Path, values: Values, read: Read) -> Fitted:
    """Train the trials of a pack, and return what came out of the first one.

    Args:
        path: of the folder that the agent made.
        values: the config, as far as no trial says otherwise.
        read: what a config says is to be done.

    Raises:
        InvalidInput: the folder names no trials, or this process has trained them already.
        SystemExit: the pack was refused, or the first trial has not been trained to its end; the
            agent has been told.
    """
    folder = PackFolder(path)
    members = folder.members()
    for member in members:
        check_not_over(member.run)
    with Stop().on_sigterm() as stop, ExitStack() as together:
        try:
            good, jobs, wrong = _read_jobs(members, values, read)
            if jobs:
                together.enter_context(determinism(is_wanted=jobs[0].config.deterministic))
                device = _ready_device()
                if not has_room(jobs[0].data, device):
                    raise Refused("the data do not fit into the GPU's memory, which a pack needs")
                data = jobs[0].data.to(device)
                trainers = [build_trainer(job, data) for job in jobs]
                check_trainers(trainers, data)
        except SweepdError as error:
            folder.tell("refused", message=_one_line(error))
            raise SystemExit(0) from error
        for member, why in wrong:
            _end_wrong(folder, member, values, why)
        if not jobs:
            raise SystemExit(0)
        seed_everything(jobs[0].config.seed)  # dropout is drawn for all of them together
        with _ending(folder) as close:
            trials = [
                _Trial(*parts, close=close) for parts in zip(good, jobs, trainers, strict=True)
            ]
            try:
                _Training(folder, trials, data, stop).train()
            except BaseException:
                for trial in trials:
                    trial.abandon()
                raise
    fitted = trials[0].fitted if good[0] is members[0] else None
    if fitted is None:
        raise SystemExit(0)
    return fitted


def _read_jobs(
    members: Sequence[Member], values: Values, read: Read
) -> tuple[list[Member], list[Job], list[tuple[Member, InvalidInput]]]:
    """Return the trials that can be trained, what they are to do, and those whose config is wrong.

    The data are theirs in common.
    """
    check_client()
    if wandb.run is not None:
        raise Refused("the program has begun a run by itself before it began to train")
    configs = [{**values, **member.values()} for member in members]
    check_values(configs)
    good, jobs, wrong = list[Member](), list[Job](), list[tuple[Member, InvalidInput]]()
    for member, config in zip(members, configs, strict=True):
        try:
            jobs.append(read(config, jobs[0].data if jobs else None))
            good.append(member)
        except InvalidInput as error:
            wrong.append((member, error))
    return good, jobs, wrong


def _end_wrong(folder: PackFolder, member: Member, values: Values, why: InvalidInput) -> None:
    """Fail the run of a trial whose config is wrong, as it would have failed alone."""
    message = _one_line(why)
    try:
        run = _begin(member, values, stop=Stop())
        folder.tell("began", run=member.run)
        print(f"{member.run}: {message}")
        end(run, exit_code=why.exit_code)
    finally:
        folder.tell("ended", run=member.run, exit_code=why.exit_code, message=message)


def _begin(member: Member, values: Values, *, stop: Stop) -> wandb.Run:
    """Begin the run of one trial among several."""
    own = wandb.Settings()
    own.update_from_env_vars(dict(member.environment))
    wandb.setup(own)  # in a sweep, `wandb.init` takes a run's id and config from there alone
    settings = wandb.Settings(console="off", stop_fn=stop.request)
    return begin(values, trial=member.run, reinit="create_new", settings=settings)


def _ready_device() -> torch.device:
    device = pick_device()
    let_hurry(device)
    return device


class _Trial:
    """A trial of the pack.

    Args:
        member, job, trainer: its name, what it does, what does it.
        close: ends a run with an exit code and a message, in the background.
    """

    def __init__(
        self,
        member: Member,
        job: Job,
        trainer: Trainer,
        *,
        close: Callable[["_Trial", int, str | None], None],
    ) -> None:
        self.run_id, self.trainer = member.run, trainer
        self._member, self._job, self._close = member, job, close
        self._course: Course | None = None
        self.run: wandb.Run | None = None
        self.fitted: Fitted | None = None
        self.has_ended = False
        self.stop = Stop()

    @property
    def course(self) -> Course:
        """Return the course of its run, which has begun."""
        assert self._course is not None, f"the run {self.run_id} has begun"
        return self._course

    def begin(self) -> None:
        """Begin its run, and go on from a state that it left, if there is one."""
        self.run = _begin(self._member, self._job.values, stop=self.stop)
        self._course = Course(self.run, self._job, self.trainer, tell=self._tell)
        self._course.take_up()

    def report(self, progress: Progress) -> None:
        """Log progress.

        Raises:
            Diverged: the loss is no number, or has left all bounds.
        """
        self.course.report(progress)
        self.trainer.check(progress)

    def end_epoch(self, score: Score | Diverged, histograms: Mapping[str, Histogram]) -> None:
        """Log a whole epoch.

        Raises:
            Diverged: the loss is no number on held-out rows.
        """
        if isinstance(score, Diverged):
            raise score
        self.course.end_epoch(score, histograms)

    def finish(self, data: Data, *, mode: str) -> None:
        """Test the best epoch, and end."""
        self.fitted = self.course.finish(data.test, mode=mode)
        self.end()

    def halt(self, why: str) -> None:
        """Save the state to go on from, and end."""
        self.end(self.course.halt(why))

    def end(self, error: Exception | None = None) -> None:
        """End the run, and tell the agent; the error says how it went."""
        self.has_ended = True
        if self._course is not None:
            if isinstance(error, Diverged):
                self._course.lose()
            self._course.keep()
        set_apart(self.trainer.plain_step)
        code = 0 if error is None else getattr(error, "exit_code", 1)
        self._close(self, code, None if error is None else _one_line(error))

    @contextmanager
    def ended_by(self, *errors: type[Exception]) -> Iterator[None]:
        """Let errors end this trial, and no other."""
        try:
            yield
        except errors as error:
            self.end(error)

    def abandon(self) -> None:
        """Finish the run as that of a process that fails; the agent tries the trial again."""
        if self.run is not None and not self.has_ended:
            self.has_ended = True
            end(self.run, exit_code=1)

    def _tell(self, text: str) -> None:
        print(f"{self.run_id}: {text}")


class _Training:
    """Trains trials until all of them have ended.

    Args:
        folder: where the agent is told, and asks for a stop.
        trials: of the pack.
        data: on their device.
        stop: turns true when all are to stop.
    """

    def __init__(
        self, folder: PackFolder, trials: Sequence[_Trial], data: Data, stop: Stop
    ) -> None:
        self._folder, self._trials, self._data, self._stop = folder, trials, data, stop
        self._watcher, self._has_measured = Watcher(), False

    def train(self) -> None:
        """Train all: first those that begin anew; those that go on from some step, after them."""
        lead = self._trials[0].trainer
        used = utilisation(lead.model, lead.problem, batch_size=lead.config.batch_size)
        for trial in self._trials:
            with trial.ended_by(SweepdError, wandb.Error):
                trial.begin()
                trial.course.used = used
                self._folder.tell("began", run=trial.run_id)
        ready = sorted(_live(self._trials), key=lambda trial: trial.trainer.position)
        for _, group in groupby(ready, key=lambda trial: trial.trainer.position):
            left = list(group)
            while left := _live(left):
                self._train_together(left)

    def _train_together(self, trials: Sequence[_Trial]) -> None:
        """Train trials that stand at one step until at least one of them has ended."""
        pack = Pack([trial.trainer for trial in trials], should_stop=self._stop)
        measuring = PackMeasuring(pack)
        while len(_live(trials)) == len(trials):
            over = [trial for trial in trials if trial.course.is_over()]
            for trial in over:
                with trial.ended_by(SweepdError):
                    trial.finish(self._data, mode=pack.mode)
            if not over:
                self._epoch(pack, trials, measuring)

    def _epoch(self, pack: Pack, trials: Sequence[_Trial], measuring: PackMeasuring) -> None:
        """Train and evaluate one epoch; what ends in its midst is trained on, for nothing."""
        lead = trials[0].trainer
        measuring.begin()
        for reports in pack.epoch():
            measuring.report()
            for trial, progress in zip(trials, reports, strict=True):
                if not trial.has_ended:
                    with trial.ended_by(Diverged):
                        trial.report(progress)
            if not lead.is_epoch_done:
                self._stop_asked(trials)
            if not _live(trials):
                return
        if not lead.is_epoch_done:
            self._stop_asked(trials)
            return
        self._tell_measured(pack, measuring)
        taken = self._watcher.take([trial.trainer.model for trial in trials])
        scores = pack.evaluate(self._data.validation)
        for trial, score, found in zip(trials, scores, taken.read(), strict=True):
            if not trial.has_ended:
                with trial.ended_by(Diverged):
                    trial.end_epoch(score, found)
        going = [trial for trial in _live(trials) if not trial.course.is_over()]
        self._stop_asked(going)
        for trial in _live(going):
            trial.course.saved.save_if_due()

    def _stop_asked(self, trials: Sequence[_Trial]) -> None:
        """Stop the trials that are to stop."""
        live = _live(trials)
        asked = self._folder.asked_to_stop() if live else set()
        for trial in live:
            if self._stop():
                trial.halt("stopped by SIGTERM")
            elif trial.run_id in asked or trial.stop():
                trial.halt("stopped on request")

    def _tell_measured(self, pack: Pack, measuring: PackMeasuring) -> None:
        """Tell the agent, once it is known and once only, how much a pack brings and needs."""
        measured = None if self._has_measured else measuring.measured()
        if measured is not None:
            self._has_measured = True
            self._folder.tell("measured", trials=len(pack.trainers), **measured)


def _live(trials: Sequence[_Trial]) -> list[_Trial]:
    return [trial for trial in trials if not trial.has_ended]


@contextmanager
def _ending(folder: PackFolder) -> Iterator[Callable[[_Trial, int, str | None], None]]:
    """Give what ends runs while others train on; wait at the end until all have sent their data."""
    closing: list[Future[None]] = []

    def close(trial: _Trial, exit_code: int, message: str | None) -> None:
        if trial.run is not None:
            end(trial.run, exit_code=exit_code)
        folder.tell("ended", run=trial.run_id, exit_code=exit_code, message=message)

    with ThreadPoolExecutor(_N_ENDING) as pool:
        yield lambda *trial: closing.append(pool.submit(close, *trial))
    for future in closing:
        future.result()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
