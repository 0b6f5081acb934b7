"""A stand-in for `wandb.Api()`: the parts of a server that the results module reads."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import wandb

sys.path.insert(0, str(Path(__file__).parent))

from sweepd.results import export, select
from sweepd.results.export import PRECISIONS
from sweepd.results.onnx_file import weights_sha256
from sweepd_trainer.checkpoint import Best, image_header
from sweepd_trainer.config import read_config
from sweepd_trainer.data import load
from sweepd_trainer.export import Classifier
from sweepd_trainer.models import build_model
from sweepd_trainer.task import Score


class FakeWriter:
    """A process that writes to a run of the server: what `wandb.init` gives."""

    def __init__(self, **options) -> None:
        self.options, self.logged = options, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def log_artifact(self, artifact, aliases):
        self.logged.append((artifact, aliases))
        return SimpleNamespace(wait=lambda: SimpleNamespace(name=f"{artifact.name}:v0"))


@contextmanager
def in_place_of_init() -> Iterator[list[FakeWriter]]:
    """Stand in for `wandb.init` meanwhile; yield all that it gave."""
    given: list[FakeWriter] = []

    def init(**options):
        given.append(FakeWriter(**options))
        return given[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb, "init", init)
        yield given


@pytest.fixture(autouse=True)
def writers():
    """Stand in for `wandb.init` in every test here; return all that it gave."""
    with in_place_of_init() as given:
        yield given


@pytest.fixture(scope="session")
def writing():
    """Return the same for what is made once for all tests."""
    return in_place_of_init


_programs: dict[str, object] = {}


@pytest.fixture(autouse=True)
def _trained_model_is_exported_once():
    """Let PyTorch's export of the trainer's model serve all tests: it takes a second."""
    plain = torch.onnx.export

    def export_once(model, arguments, **options):
        if type(model) is not Classifier:
            return plain(model, arguments, **options)
        (example,) = arguments
        told = (repr(model), weights_sha256(model), example.tolist(), sorted(options.items()))
        if repr(told) not in _programs:
            _programs[repr(told)] = plain(model, arguments, **options)
        return _programs[repr(told)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", export_once)
        yield


class FakeFile:
    def __init__(self, path: Path, name: str) -> None:
        self._path, self.name, self.size = path, name, path.stat().st_size
        self.md5 = "x"

    def download(self, root, replace):
        target = Path(root) / self.name
        shutil.copy(self._path, target)
        return target.open("rb")


class FakeRun:
    """A run with values of one metric, and files in a folder."""

    def __init__(self, name, values=(), *, state="finished", summary=None, config=None, url="u"):
        self.id, self.name, self.state, self.url = name, f"run {name}", state, url
        self.path = ["me", "digits", name]
        self.config = config or {"learning_rate": 0.1}
        self.summary_metrics = summary or {}
        self.metadata = {"git": {"remote": "example.com/repo", "commit": "abc"}}
        self.sweep_name = "s1"
        self.created_at = "2026-01-02T03:04:05Z"
        self.values = values
        self.folder: Path | None = None
        self.uploads: list[tuple[str, bytes]] = []

    def scan_history(self, keys, use_cache):
        own = self.values.get(keys[0], ()) if isinstance(self.values, dict) else self.values
        return [{"_step": step, keys[0]: value} for step, value in enumerate(own)]

    def files(self, names=()):
        if self.folder is None:
            return []
        found = [FakeFile(path, path.name) for path in sorted(self.folder.iterdir())]
        return [file for file in found if not names or file.name in names]

    def upload_file(self, path, root):
        self.uploads.append((str(Path(path).relative_to(root)), Path(path).read_bytes()))


class FakeApi:
    """A server with one sweep, me/digits/s1."""

    def __init__(self, runs, *, metric=None, objective=None):
        self.listed = runs
        config = {"method": "bayes", "metric": metric} if metric else {"method": "grid"}
        config["parameters"] = {"epochs": {"value": 3}, "learning_rate": {"min": 0.1, "max": 1.0}}
        if objective:
            config["sweepd"] = {"objective": objective}
        self._sweep = SimpleNamespace(
            id="s1", entity="me", project="digits", config=config, state="FINISHED"
        )
        self.again = {}

    def sweep(self, path):
        if not path.endswith("s1"):
            raise ValueError(f"Could not find sweep {path}")
        return self._sweep

    def runs(self, path, filters, order, per_page, lazy):
        assert (path, order) == ("me/digits", "+created_at")
        return self.listed if filters == {"sweep": "s1"} else self.again[filters["sweep"]][1]

    def project(self, name, entity):
        assert (name, entity) == ("digits", "me")
        again = [sweep for sweep, _ in self.again.values()]
        return SimpleNamespace(sweeps=lambda: [self._sweep, *again])

    def confirm(
        self, name, runs, *, sweep="s1", state="FINISHED", n=None, names=None, seed_key="seed", **of
    ):
        """Add a sweep of confirmations with these runs."""
        known = of if names is None else {"parameters": names, **of}
        config = {
            "run_cap": len(runs) if n is None else n,
            "parameters": {seed_key: {"values": sorted({run.config[seed_key] for run in runs})}},
            "sweepd": {"confirms": {"sweep": sweep, "seed_key": seed_key, **known}},
        }
        made = SimpleNamespace(id=name, entity="me", project="digits", config=config, state=state)
        self.again[name] = (made, runs)

    def run(self, path):
        for run in self.listed:
            if "/".join(run.path) == path:
                return run
        raise wandb.errors.CommError(f"Could not find run <Run {path}>")


CONFIG = read_config({"kernels": [2, 4], "slice": 4})


def make_trained_run(folder: Path) -> FakeRun:
    torch.manual_seed(0)
    spec = load("digits", every=4).spec
    best = Best(folder / "checkpoint.pt", header=image_header(CONFIG, spec))
    best.offer(build_model(spec, CONFIG), epoch=3, score=Score(loss=0.5, accuracy=0.9))
    run = FakeRun(
        "r1", [0.8, 0.9], summary={"test_accuracy": 0.88}, config=CONFIG.to_dict(), url="the url"
    )
    run.folder = folder
    return run


@pytest.fixture
def trained_run(tmp_path):
    """Return a finished run whose files hold a checkpoint of a small convnet on digits."""
    return make_trained_run(tmp_path / "files")


@pytest.fixture(scope="session")
def exported(tmp_path_factory, writing):
    """Return the report of one good export, the run and the file; tests only look at them."""
    folder = tmp_path_factory.mktemp("exported")
    run = make_trained_run(folder / "files")
    metric = {"name": "val_accuracy", "goal": "maximize"}
    api = FakeApi([FakeRun("worse", [0.1]), run], metric=metric)
    out = folder / "out" / "best.onnx"
    with writing():
        report = export(select("me/digits/s1", api=api), out=out, api=api)
    return SimpleNamespace(report=report, run=run, out=out)


@pytest.fixture
def fake():
    """Return the makers of a server and of a run."""
    return SimpleNamespace(api=FakeApi, run=FakeRun)


@pytest.fixture(scope="session")
def exported_in_three(tmp_path_factory, writing):
    """Return the report of an export in three precisions, and the run; tests only look at them."""
    folder = tmp_path_factory.mktemp("three")
    run = make_trained_run(folder / "files")
    with writing():
        report = export(
            "me/digits/r1",
            out=folder / "out" / "m.onnx",
            precisions=PRECISIONS,
            min_agreement=0.9,  # of a model that was never trained: its answers are close calls
            api=FakeApi([run]),
        )
    return SimpleNamespace(report=report, run=run)
