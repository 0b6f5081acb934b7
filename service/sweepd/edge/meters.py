"""What the service counts about itself, in Prometheus' format."""

import threading
import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from sweepd import __version__
from sweepd.edge.gate import Gate
from sweepd.edge.ways import Way
from sweepd.engine import census
from sweepd.engine.services import Services

__all__ = ["Meters"]

_LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "PATCH"})
_CENSUS_S = 10.0  # how old counts of rows may be: to count them takes a while where they are many


class Meters:
    """Counters and gauges in a registry of their own; label values come from short lists only."""

    def __init__(self, services: Services, gate: Gate) -> None:
        self._services = services
        self._gate = gate
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        info = Gauge("sweepd_info", "Version of sweepd.", ["version"], registry=registry)
        info.labels(__version__).set(1)
        self._requests = Counter(
            "sweepd_requests",
            "Requests answered.",
            ["route", "method", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "sweepd_request_seconds",
            "Time from a request's headers to the end of its answer.",
            ["route"],
            buckets=_LATENCIES,
            registry=registry,
        )
        self._rows = Counter("sweepd_rows", "Rows and console lines stored.", registry=registry)
        self._inside = Gauge(
            "sweepd_requests_in_flight",
            "Requests in flight, event streams included.",
            registry=registry,
        )
        self._streams = Gauge("sweepd_event_streams", "Pages that look on.", registry=registry)
        self._add_writer(registry)
        self._add_census(registry)

    def _add_writer(self, registry: CollectorRegistry) -> None:
        self._waiting = Gauge(
            "sweepd_writer_queue", "Use cases that wait to be written.", registry=registry
        )
        self._batches = Histogram(
            "sweepd_writer_batch_size",
            "Use cases that shared a commit.",
            buckets=_BATCHES,
            registry=registry,
        )
        self._commits = Histogram(
            "sweepd_commit_seconds",
            "Time to write a batch and flush it to the disk.",
            buckets=_LATENCIES,
            registry=registry,
        )
        self._services.store.watch_commits(self._saw_commit)

    def _add_census(self, registry: CollectorRegistry) -> None:
        self._runs = Gauge("sweepd_runs", "Runs by state.", ["state"], registry=registry)
        self._sweeps = Gauge("sweepd_sweeps", "Sweeps by state.", ["state"], registry=registry)
        self._agents = Gauge("sweepd_agents", "Agents by state.", ["state"], registry=registry)
        self._leases = Gauge("sweepd_leases", "Trials that agents hold.", registry=registry)
        self._files = Gauge("sweepd_files", "Files of runs.", registry=registry)
        self._bytes = Gauge("sweepd_file_bytes", "Bytes of the runs' files.", registry=registry)
        self._counted_at = -_CENSUS_S
        self._lock = threading.Lock()

    def saw_request(
        self, way: Way, method: str, status: int, *, seconds: float, n_rows: int
    ) -> None:
        """Count a request that was answered."""
        known = method if method in _METHODS else "other"
        self._requests.labels(way.value, known, str(status)).inc()
        if way is not Way.FEED:  # how long somebody looked on is no latency
            self._seconds.labels(way.value).observe(seconds)
        if n_rows:
            self._rows.inc(n_rows)

    def _saw_commit(self, n_jobs: int, seconds: float) -> None:
        self._batches.observe(n_jobs)
        self._commits.observe(seconds)

    def render(self) -> bytes:
        """Return everything as text; blocks while it counts rows."""
        self._inside.set(self._gate.n_inside)
        self._streams.set(self._gate.n_streams)
        self._waiting.set(self._services.store.n_waiting)
        with self._lock:
            if time.monotonic() - self._counted_at >= _CENSUS_S:
                self._count(self._services.store.read_sync(census.take))
                self._counted_at = time.monotonic()
        return generate_latest(self._registry)

    def _count(self, found: census.Census) -> None:
        for gauge, counts in (
            (self._runs, found.runs),
            (self._sweeps, found.sweeps),
            (self._agents, found.agents),
        ):
            for state, count in counts.items():
                gauge.labels(state).set(count)
        self._leases.set(found.n_leases)
        self._files.set(found.n_files)
        self._bytes.set(found.file_bytes)
