"""How many trials share each GPU: found out by doubling, from what trials bring and take.

K   trials at once on each GPU of a kind: 1, 2, 4, 8, 16
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median, stdev
from typing import Any

from sweepd_agent.devices import Slot, even_part
from sweepd_agent.doubling import Doubling, fits

__all__ = ["Sharing", "Stay", "Taken"]

_LARGEST = 16
_FEWEST = 2  # trials by which a K is judged, or K of them if that is more
_MOST = 8  # by which it is judged where they differ, unless K is more
_UNSURE = 0.25  # standard error of the logarithm of what they bring: then others are waited for
_FULL = 0.8  # of K trials must have been at work, on average, while one is measured
_NOTEWORTHY = 0.05  # of a GPU's memory, in others' hands: the driver has some of it, too
_ROWS, _TRIALS = "train {} times as many rows a second", "finish {} times as many trials an hour"


@dataclass(frozen=True)
class Taken:
    """What was measured of a trial; None is not known.

    Attributes:
        rows_per_s: that it trained.
        seconds: that it took, if it took its whole course and finished by itself.
        peak_bytes: most that it had of the GPU's memory.
        total_bytes: that the GPU has.
        others_bytes: least that programs of others had of it meanwhile.
        has_failed: whether it came to a bad end, other than by want of memory.
    """

    rows_per_s: float | None = None
    seconds: float | None = None
    peak_bytes: int | None = None
    total_bytes: int | None = None
    others_bytes: int = 0
    has_failed: bool = False


@dataclass(eq=False)
class Stay:
    """A trial's time on a GPU, from its beginning to its end."""

    gpu: "_Gpu"
    n_at_once: int  # trials that it left room for, or most that were at work meanwhile if more
    began: float
    busy_before_s: float
    n_on_average: float = 0.0  # trials that were at work meanwhile
    taken: Taken | None = None


@dataclass(eq=False)
class _Kind:
    """GPUs that are alike: what one learns holds for all."""

    size: Doubling = field(default_factory=lambda: Doubling(1, _LARGEST))
    gains: str | None = None  # in which unit throughput is measured, once that is known
    judges: list[Stay] = field(default_factory=list)  # the first trials that have begun at this K
    n_judges: int = _FEWEST  # more where they differ
    n_failed: int = 0  # that were to judge this K
    n_failed_before: int = 0  # and half of it
    peak_bytes: int | None = None
    total_bytes: int | None = None
    others_bytes: int = 0

    @property
    def n_needed(self) -> int:
        return max(self.n_judges, self.size.now)

    def admit(self, stay: Stay) -> None:
        """Have a trial judge K if it is among the first.

        Those that begin first, not those that end first: short trials would count for more.
        """
        if not self.size.is_settled and len(self.judges) < self.n_needed:
            self.judges.append(stay)

    def note(self, stay: Stay, taken: Taken) -> None:
        """Keep what a trial took, and what it brought if it can judge K."""
        if taken.peak_bytes is not None:
            self.peak_bytes = max(self.peak_bytes or 0, taken.peak_bytes)
        self.total_bytes = taken.total_bytes or self.total_bytes
        self.others_bytes = max(taken.others_bytes, self.others_bytes)
        stay.taken = taken
        is_full = stay.n_on_average >= _FULL * self.size.now
        is_good = is_full and self._has_rate(taken) and not taken.has_failed
        if stay in self.judges and not is_good:
            self.judges.remove(stay)
            self.n_failed += taken.has_failed

    def _has_rate(self, taken: Taken) -> bool:
        rates = {_ROWS: taken.rows_per_s, _TRIALS: taken.seconds}
        return any(rate is not None for gains, rate in rates.items() if self.gains in (None, gains))

    def judge(self, *, unknown: str) -> str | None:
        """Judge K once its first trials have ended; return why it is now what it is, None before.

        Args:
            unknown: why the memory of trials is not known, if it is not.
        """
        found = [stay.taken for stay in self.judges if stay.taken is not None]
        if self.size.is_settled:
            return None
        if self._fails():
            return self._shrink(f"{self.n_failed} failed, {self.size.now} at once")
        if len(found) < self.n_needed:
            return None
        if self.gains is None:
            self.gains = _ROWS if all(taken.rows_per_s for taken in found) else _TRIALS
            self.judges = [one for one in self.judges if one.taken and self._has_rate(one.taken)]
            return self.judge(unknown=unknown)
        if self.peak_bytes is None or self.total_bytes is None:
            self.size.is_settled = True
            return f"how much memory a trial takes is not known: {unknown}"
        return self._double(self._rates(found), self.size.now * self.peak_bytes, self.total_bytes)

    def _double(self, rates: Sequence[float], needed_bytes: int, total_bytes: int) -> str | None:
        n, room_bytes = self.size.now, max(total_bytes - self.others_bytes, 1)
        is_open = n > 1 or fits(2 * needed_bytes, room_bytes)
        if is_open and self.n_needed < _MOST and _error(rates) > _UNSURE:
            self.n_judges = min(2 * self.n_needed, _MOST)
            return None
        self._begin_anew()
        why = self.size.note(
            n * median(rates),
            gains=self.gains or _TRIALS,
            needed_bytes=needed_bytes,
            room_bytes=float(room_bytes),
        )
        whole = f"the GPU's {total_bytes / 2**30:.1f} GiB"
        if self.others_bytes > _NOTEWORTHY * total_bytes:
            whole += f", of which others have {self.others_bytes / 2**30:.1f}"
        return why or f"to be tried, as {n} took {needed_bytes / 2**30:.1f} of {whole}"

    def _rates(self, found: Sequence[Taken]) -> list[float]:
        """Return what each trial got done in a second, in the unit that holds for all."""
        if self.gains == _ROWS:
            return [taken.rows_per_s for taken in found if taken.rows_per_s is not None]
        return [1 / max(taken.seconds, 1e-9) for taken in found if taken.seconds is not None]

    def _fails(self) -> bool:
        """Return whether trials fail since so many run at once: twice as often as half as many."""
        n = self.size.now
        return (
            n > 1 and self.n_failed >= max(_FEWEST, n) and self.n_failed > 2 * self.n_failed_before
        )

    def _begin_anew(self) -> None:
        """Forget who was to judge."""
        self.judges, self.n_judges = [], _FEWEST
        self.n_failed, self.n_failed_before = 0, self.n_failed

    def _shrink(self, why: str) -> str:
        self._begin_anew()
        self.size.shrink(self.size.now // 2)
        return why

    def halve(self) -> str:
        """Have half as many from now on, since one of K ran out of memory; return the reason."""
        return self._shrink(f"one of {self.size.now} ran out of memory")


def _error(rates: Sequence[float]) -> float:
    """Return the standard error of the logarithm of what trials get done in a second."""
    return stdev(map(math.log, rates)) / math.sqrt(len(rates))


@dataclass(eq=False)
class _Gpu:
    """One GPU, and who is at work on it."""

    first: Slot
    kind: _Kind
    slots: set[int] = field(default_factory=set)  # their numbers
    stays: set[Stay] = field(default_factory=set)  # of trials that are at work
    busy_s: float = 0.0  # of all its slots together, up to `counted_at`
    counted_at: float = 0.0

    @property
    def n_sharing(self) -> int:
        """Return how many trials share it: more than are to, while some that are too many end."""
        return max(self.kind.size.now, len(self.slots))

    def count(self, now: float) -> None:
        self.busy_s += len(self.stays) * (now - self.counted_at)
        self.counted_at = now


class Sharing:
    """Decides how many trials share each GPU; each method may be called from any thread.

    K is doubled once the first trials that began at it have ended, `max(2, K)` of them, for as long
    as that pays and fits. A trial counts if as many as K were at work on its GPU meanwhile.

    Args:
        slots: of this agent, one on each GPU.
        kinds: what GPUs that are alike have in common, by name; one without is like no other.
        cores: of the machine, shared out evenly.
        say: is told of each decision, in words and facts.
        on_growth: is called when there are slots to add.
        unknown: why the memory of trials is not known, where nothing tells it.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        *,
        kinds: Mapping[str, str],
        cores: int,
        say: Callable[[str, Mapping[str, Any]], None],
        on_growth: Callable[[], None],
        unknown: str,
    ) -> None:
        self._cores, self._say, self._on_growth = cores, say, on_growth
        self._unknown = unknown
        self._lock = threading.Lock()
        self._given_back: set[str] = set()
        found: dict[str, _Kind] = {}
        self._gpus: dict[str, _Gpu] = {}
        for slot in slots:
            kind = found.setdefault(kinds.get(slot.device, slot.device), _Kind())
            gpu = self._gpus.setdefault(slot.device, _Gpu(slot, kind))
            gpu.slots.add(slot.number)
        self._out: set[str] = set()  # GPUs that run no more trials

    # Slots

    def fitted(self, slot: Slot) -> Slot:
        """Return a slot as it is for a trial that starts now: its part of GPU and cores."""
        with self._lock:
            n = self._of(slot).n_sharing
            n_slots = sum(gpu.n_sharing for gpu in self._gpus.values() if gpu.slots)
        threads = max(1, self._cores // max(1, n_slots))
        return replace(slot, share=n, memory_fraction=even_part(n), threads=threads)

    def new_slots(self, first: int) -> list[Slot]:
        """Return the slots that are to be added, numbered from `first`; they count from now on."""
        added: list[Slot] = []
        with self._lock:
            for device, gpu in self._gpus.items():
                while device not in self._out and len(gpu.slots) < gpu.kind.size.now:
                    added.append(replace(gpu.first, number=first + len(added)))
                    gpu.slots.add(added[-1].number)
        return added

    def must_leave(self, slot: Slot) -> bool:
        """Return whether a slot between two trials is one too many; it counts no more then."""
        with self._lock:
            gpu = self._of(slot)
            if len(gpu.slots) > gpu.kind.size.now:
                gpu.slots.discard(slot.number)
            return slot.number not in gpu.slots

    def forget(self, slot: Slot) -> None:
        """Note that a slot is none any more, or was to be added and could not be."""
        with self._lock:
            self._of(slot).slots.discard(slot.number)

    def take_out(self, slot: Slot) -> None:
        """Note that a slot's GPU is unfit: it gets no more of them."""
        with self._lock:
            self._out.add(slot.device)
            self._of(slot).slots.discard(slot.number)

    def is_settled(self, slot: Slot) -> bool:
        """Return whether no more trials will share a slot's GPU than do now."""
        with self._lock:
            return self._of(slot).kind.size.is_settled

    # Trials

    def begin(self, slot: Slot, *, now: float) -> Stay:
        """Note that a trial begins on a slot's GPU.

        Args:
            slot: as `fitted` gave it: others may have left since, but its part is no larger.
            now: by `time.monotonic`.
        """
        with self._lock:
            gpu = self._of(slot)
            gpu.count(now)
            stay = Stay(gpu, max(gpu.n_sharing, slot.share), now, gpu.busy_s)
            gpu.stays.add(stay)
            for one in gpu.stays:
                one.n_at_once = max(one.n_at_once, len(gpu.stays))
            gpu.kind.admit(stay)
            return stay

    def n_at_work(self, slot: Slot) -> int:
        """Return how many trials are at work on a slot's GPU now."""
        with self._lock:
            return len(self._of(slot).stays)

    def end(self, stay: Stay, *, now: float) -> None:
        """Note that the process of a trial has ended."""
        with self._lock:
            gpu = stay.gpu
            gpu.count(now)
            gpu.stays.discard(stay)
            busy_s = gpu.busy_s - stay.busy_before_s
            stay.n_on_average = busy_s / max(now - stay.began, 1e-9)

    def note(self, stay: Stay, taken: Taken) -> None:
        """Take what was measured of a trial that has ended, if anything; decide if it is time."""
        with self._lock:
            kind = stay.gpu.kind
            n_before = kind.size.now
            kind.note(stay, taken)
            why = kind.judge(unknown=self._unknown)
            told = None if why is None else self._in_words(kind, why)
            has_grown = kind.size.now > n_before
        if told is not None:
            self._say(*told)
        if has_grown:
            self._on_growth()

    def note_out_of_memory(self, stay: Stay, run: str) -> bool:
        """Take that a trial ran out of memory; return whether sharing may be why: to try it again.

        Half as many share its GPU from now on, unless that was decided as it ran, or it did so
        before: what has no room then either has none.
        """
        with self._lock:
            kind, told = stay.gpu.kind, None
            if stay.n_at_once == 1 or run in self._given_back:
                return False
            self._given_back.add(run)
            if stay.n_at_once <= kind.size.now:
                told = self._in_words(kind, kind.halve())
        if told is not None:
            self._say(*told)
        return True

    def _of(self, slot: Slot) -> _Gpu:
        return self._gpus[slot.device]

    def _in_words(self, kind: _Kind, why: str) -> tuple[str, Mapping[str, Any]]:
        devices = [device for device, gpu in self._gpus.items() if gpu.kind is kind]
        n, is_all = kind.size.now, len(devices) == len(self._gpus)
        trials = "1 trial at a time" if n == 1 else f"{n} trials at once"
        where = "each GPU" if is_all else f"each of {', '.join(devices)}"
        facts = {"devices": devices, "per_gpu": n, "is_settled": kind.size.is_settled, "why": why}
        return f"{trials} on {where}: {why}", facts
