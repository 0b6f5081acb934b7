"""The agent: finds server, sweep and devices, starts the slots, and sees that all of it ends."""

import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from sweepd.errors import InvalidInput, LaunchError, ServerUnreachable
from sweepd_agent.api import AgentApi, Sweep
from sweepd_agent.bundle import Bundle
from sweepd_agent.client import Client
from sweepd_agent.crew import Crew
from sweepd_agent.devices import Slot, count_cores, make_slots
from sweepd_agent.events import AgentEvent, EventKind, Report
from sweepd_agent.gpu_health import why_unwatched
from sweepd_agent.gpu_memory import GpuMemory, why_unknown
from sweepd_agent.mps import find_mps
from sweepd_agent.nursery import Nursery
from sweepd_agent.offline import BundleSource
from sweepd_agent.options import AUTO, Options, SweepPath, check_auto, parse_pack, parse_sweep
from sweepd_agent.preload import list_imports
from sweepd_agent.server import Server, resolve_server
from sweepd_agent.sharing import Sharing
from sweepd_agent.slot import SlotWorker
from sweepd_agent.source import Source
from sweepd_agent.telling import in_words
from sweepd_agent.trial import Workplace, missing_program, program_file

__all__ = ["check_workplace", "run_agent"]

T = TypeVar("T")
_FIRST_WAITS_S = (1.0, 2.0)


def run_agent(options: Options, *, report: Report) -> int:
    """Run trials of a sweep until there are no more; return the exit code: 0 done, 1 failed.

    Called from the main thread, it takes SIGTERM and SIGINT: the first passes SIGTERM on to the
    trials and waits for them, the second kills them.

    Raises:
        InvalidInput: if an option is wrong, or the sweep's program is not here (2).
        ServerUnreachable: if the server does not answer at the start (75).
        SweepdError: if it refuses: no key, no such sweep (1).
    """
    if options.count is not None and options.count < 1:
        raise InvalidInput(f"--count must be at least 1, not {options.count}")
    check_auto(options)
    if options.pack is not None:
        parse_pack(options.pack)
        if options.gpus_per_trial > 1:
            raise InvalidInput(
                f"--pack trains on one GPU; leave --gpus-per-trial {options.gpus_per_trial} out"
            )
    folder = Path(options.folder or ".").absolute()
    if options.offline is not None:
        return _run_offline(options, Bundle.read(Path(options.offline)), folder, report=report)
    path = parse_sweep(options.sweep)
    server = resolve_server(
        options.base_url or path.base_url, options.api_key, environ=os.environ, folder=folder
    )
    slots = _make_slots(options, report)
    is_ours, sweep = _look_up(options, path, server)
    _check_program(sweep, folder)
    place = Workplace(
        server,
        sweep,
        folder,
        is_ours=is_ours,
        environ=dict(os.environ),
        mps=find_mps(os.environ),
    )

    def connect() -> Source:
        return AgentApi(Client(server.url, server.api_key))

    return _Agent(options, place, slots, connect=connect, report=report).run()


def _run_offline(options: Options, bundle: Bundle, folder: Path, *, report: Report) -> int:
    """Run the trials of a bundle that are still to be run; its folder takes what they write."""
    if options.sweep:
        raise InvalidInput(f"--offline runs its bundle's sweep; leave {options.sweep} out")
    _check_program(bundle.sweep, folder)
    slots = _make_slots(options, report)
    place = Workplace(
        Server(bundle.server, ""),
        bundle.sweep,
        folder,
        is_ours=False,
        environ={**os.environ, "WANDB_DIR": str(bundle.folder)},
        is_offline=True,
        mps=find_mps(os.environ),
    )
    with bundle.lock():
        source = BundleSource(bundle)
        return _Agent(options, place, slots, connect=lambda: source, report=report).run()


def check_workplace(options: Options) -> None:
    """Look whether an agent that is started here could start the trials of its sweep.

    Raises:
        InvalidInput: if it could not, in a sentence.
        ServerUnreachable, SweepdError: as `run_agent`.
    """
    folder = Path(options.folder or ".").absolute()
    path = parse_sweep(options.sweep)
    server = resolve_server(
        options.base_url or path.base_url, options.api_key, environ=os.environ, folder=folder
    )
    _, sweep = _look_up(options, path, server)
    _check_program(sweep, folder)


def _check_program(sweep: Sweep, folder: Path) -> None:
    """Refuse to take trials each of which would fail, and the sweep with them."""
    missing = missing_program(sweep.program, sweep.command, folder)
    if missing is not None and not sweep.is_over:
        path = f"{sweep.entity}/{sweep.project}/{sweep.name}"
        raise InvalidInput(f"no trial of {path} can be started here: {missing}")


class _Agent:
    """One run of the agent, in the thread that called it."""

    def __init__(
        self,
        options: Options,
        place: Workplace,
        slots: tuple[Slot, ...],
        *,
        connect: Callable[[], Source],
        report: Report,
    ) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._slots = slots[: options.count]  # no more slots than trials
        self._n_signals = 0
        self._n_working = 0
        self._kill_at = float("inf")
        self._connect = connect
        self._crew = Crew(
            options=options,
            place=place,
            host=options.name or socket.gethostname(),
            report=report,
            n_slots=len(self._slots),
            nursery=_make_nursery(options, place, self._slots, notice=self._notice),
            run_on_main=self._tasks.put,
            sharing=self._make_sharing(options),
        )
        self._workers = [self._make_worker(slot) for slot in self._slots]

    def run(self) -> int:
        """Work to the end and return the exit code."""
        old = self._take_signals()
        crew = self._crew
        try:
            crew.say(EventKind.AGENT_STARTED, self._opening_words(), self._facts())
            if crew.options.pack is not None and (why := _why_no_packs(crew.place)):
                self._notice(f"trials are run one by one, not packed: {why}")
            crew.nursery.open()
            self._n_working = len(self._workers)
            for worker in self._workers:
                worker.start()
            while self._n_working:
                self._do_next_task()
        finally:
            crew.leaving.set()
            crew.nursery.close()
            for number, handler in old.items():
                signal.signal(number, handler)
        for worker in self._workers:
            if worker.error is not None:
                raise worker.error
        crew.say(EventKind.AGENT_ENDED, self._closing_words(), {"exit_code": crew.exit_code})
        return crew.exit_code

    def _do_next_task(self) -> None:
        """Do what a worker or a signal asks of this thread."""
        wait = self._kill_at - time.monotonic()
        try:
            task = self._tasks.get(timeout=max(0.0, wait) if wait != float("inf") else None)
        except queue.Empty:
            self._kill_at = float("inf")
            self._notice("killing the trials that have not ended")
            self._crew.nursery.signal_all(signal.SIGKILL)
        else:
            task()

    def _make_worker(self, slot: Slot) -> SlotWorker:
        return SlotWorker(slot, self._crew, self._connect(), on_end=self._on_worker_end)

    def _make_sharing(self, options: Options) -> Sharing | None:
        """Return what finds out how many trials share a GPU; None if that is not asked for."""
        if options.per_gpu != AUTO or not self._slots[0].gpus:
            return None
        memories = {slot.device: GpuMemory.of(slot.gpus[0]) for slot in self._slots}
        kinds = {name: known.kind for name, known in memories.items() if known is not None}
        return Sharing(
            self._slots,
            kinds={name: kind for name, kind in kinds.items() if kind is not None},
            cores=count_cores(),
            say=self._say_shared,
            on_growth=lambda: self._tasks.put(self._add_slots),
            unknown=why_unknown(self._slots[0].gpus[0]),
        )

    def _say_shared(self, text: str, facts: Mapping[str, Any]) -> None:
        """Say how many trials share a GPU; not that more are tried, where none is run any more."""
        if facts["is_settled"] or not self._crew.leaving.is_set():
            self._crew.say(EventKind.GPU_SHARED, text, facts)

    def _add_slots(self) -> None:
        """Have as many slots at work as trials are to share each GPU now."""
        crew = self._crew
        if crew.sharing is None or crew.leaving.is_set():
            return
        for slot in crew.sharing.new_slots(len(self._workers)):
            crew.note_slots(+1)
            try:
                worker = self._make_worker(slot)
                worker.start()
            except (OSError, RuntimeError) as error:  # no room for a connection, or a thread
                crew.note_slots(-1)
                crew.sharing.forget(slot)
                self._notice(f"there is no room for slot {slot.number}: {error}")
            else:
                self._workers.append(worker)
                self._n_working += 1

    def _on_worker_end(self) -> None:
        self._n_working -= 1

    def _take_signals(self) -> dict[int, Any]:
        if threading.current_thread() is not threading.main_thread():
            return {}
        taken = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # its terminal is gone; not by nohup
            taken.append(signal.SIGHUP)
        return {number: signal.signal(number, self._note_signal) for number in taken}

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        self._tasks.put(lambda: self._on_signal(number))

    def _on_signal(self, number: int) -> None:
        """First: end the trials in order, and then leave. Second: now."""
        self._n_signals += 1
        crew = self._crew
        crew.is_ending = True
        name = signal.Signals(number).name
        if self._n_signals == 1:
            crew.leave(f"{name}: ending the trials; once more kills them")
        if self._n_signals == 1 and crew.nursery.has_started:
            crew.nursery.signal_all(signal.SIGTERM)
            self._kill_at = time.monotonic() + crew.options.term_timeout_s
        else:  # nothing runs that could be ended in order, or there is no time for it
            self._kill_at = float("inf")
            crew.nursery.close()
        for worker in self._workers:
            worker.wake()

    def _notice(self, text: str) -> None:
        self._crew.say(EventKind.NOTICE, text)

    def _opening_words(self) -> str:
        place = self._crew.place
        what = "sweepd" if place.is_ours else "a W&B server"
        what = (
            f"a bundle of {place.server.url}"
            if place.is_offline
            else f"{what} at {place.server.url}"
        )
        devices = ", ".join(dict.fromkeys(slot.device for slot in self._slots))
        count = f"{len(self._slots)} slot{'s' if len(self._slots) > 1 else ''}"
        devices += ", more if that pays" if self._crew.sharing is not None else ""
        devices += ", by MPS" if place.mps is not None and len(self._slots[0].gpus) == 1 else ""
        sweep = f"{place.sweep.entity}/{place.sweep.project}/{place.sweep.name}"
        return f"using {what}: sweep {sweep}, {count} on {devices}"

    def _closing_words(self) -> str:
        return "the agent leaves" if self._crew.exit_code == 0 else "the agent gives up"

    def _facts(self) -> dict[str, Any]:
        place = self._crew.place
        return {
            "server": place.server.url,
            "is_ours": place.is_ours,
            "sweep": f"{place.sweep.entity}/{place.sweep.project}/{place.sweep.name}",
            "host": self._crew.host,
            "slots": [
                {"slot": slot.number, "device": slot.device, "threads": slot.threads}
                for slot in self._slots
            ],
        }


def _why_no_packs(place: Workplace) -> str | None:
    """Return why the trials of a place cannot be packed, if they cannot."""
    if not place.is_ours:
        return "that takes a service of sweepd's"
    if place.sweep.command is not None:
        return "the definition has a command of its own"
    return None


def _make_slots(options: Options, report: Report) -> tuple[Slot, ...]:
    def notice(text: str) -> None:
        report(AgentEvent(EventKind.NOTICE, text))

    slots = make_slots(
        options.gpus,
        per_gpu=options.per_gpu if isinstance(options.per_gpu, int) else None,
        slots=options.slots,
        environ=os.environ,
        memory_fraction=options.memory_fraction,
        gpus_per_trial=options.gpus_per_trial,
        notice=notice,
    )
    blind = why_unwatched([gpu for slot in slots for gpu in slot.gpus])
    if blind is not None:
        notice(blind)
    return slots


def _make_nursery(
    options: Options, place: Workplace, slots: tuple[Slot, ...], *, notice: Callable[[str], None]
) -> Nursery:
    sweep: Sweep = place.sweep
    modules: list[str] = []
    if sweep.program is not None and sweep.command is None:
        file = program_file(sweep.program, place.folder)
        if file is not None:
            modules = list_imports(file, [file.parent, place.folder])
    try:
        place.wandb_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LaunchError(f"no trial can be run: {in_words(error)}") from error
    return Nursery(
        folder=place.folder,
        modules=modules,
        threads=max(slot.threads for slot in slots),
        handshake_s=options.handshake_s,
        log=place.wandb_folder / f"warm-{os.getpid()}.log",
        notice=notice,
    )


def _look_up(options: Options, path: SweepPath, server: Server) -> tuple[bool, Sweep]:
    """Ask the server what it is, and for the sweep."""
    client = Client(server.url, server.api_key)
    api = AgentApi(client)
    try:
        is_ours = _patiently(api.is_ours)
        sweep = api.find_sweep(
            path,
            is_ours=is_ours,
            entity=options.entity or server.entity,
            project=options.project or server.project,
        )
    finally:
        client.close()
    return is_ours, sweep


def _patiently(question: Callable[[], T]) -> T:
    """Ask a server that may just be starting; a few seconds, no more."""
    for wait_s in _FIRST_WAITS_S:
        try:
            return question()
        except ServerUnreachable:
            time.sleep(wait_s)
    return question()
