"""The model as an artifact of its run."""

from types import SimpleNamespace

import pytest
import wandb

from sweepd.results import export, select

METRIC = {"name": "val_accuracy", "goal": "maximize"}


@pytest.fixture
def api(fake, trained_run):
    return fake.api([trained_run], metric=METRIC)


@pytest.fixture
def logged(writers):
    """Return the artifacts that were logged since, each with its aliases."""
    before = len(writers)
    return lambda: [entry for writer in writers[before:] for entry in writer.logged]


def test_the_best_model_of_a_sweep_is_a_version_under_the_sweeps_id(
    api, tmp_path, logged, writers, monkeypatch
):
    sweep = api.sweep("me/digits/s1")
    monkeypatch.setattr(sweep, "name", "My first / sweep: ü!", raising=False)

    report = export(select("me/digits/s1", api=api), out=tmp_path / "m.onnx", api=api)

    ((artifact, aliases),) = logged()
    assert (artifact.name, artifact.type) == ("s1", "model")
    assert aliases == ["best", "My-first-sweep"]
    assert sorted(artifact.manifest.entries) == ["model.md", "model.onnx"]
    assert artifact.metadata["run"] == "me/digits/r1"
    assert artifact.metadata["files"][0]["sha256"] == report.sha256
    assert str(tmp_path) not in str(artifact.metadata)
    assert report.artifact == "me/digits/s1:v0"
    assert "registered as the model me/digits/s1:v0" in report.lines()


def test_it_joins_the_run_without_touching_its_state(api, tmp_path, writers):
    export("me/digits/r1", out=tmp_path / "m.onnx", api=api)

    options = writers[-1].options
    settings = options["settings"]
    assert (options["entity"], options["project"], options["id"]) == ("me", "digits", "r1")
    assert settings.mode == "shared"
    assert not settings.x_primary
    assert not settings.x_update_finish_state


def test_a_run_that_nobody_chose_is_not_called_the_best(api, trained_run, tmp_path, logged):
    export("me/digits/r1", out=tmp_path / "m.onnx", api=api)
    trained_run.sweep = SimpleNamespace(entity="me", project="digits", id="s1", config={})
    export("me/digits/r1", out=tmp_path / "m.onnx", api=api)

    assert [(artifact.name, aliases) for artifact, aliases in logged()] == [
        ("r1", ["r1"]),
        ("s1", ["r1"]),
    ]


def test_nothing_is_registered_that_is_not_uploaded(api, trained_run, tmp_path, logged):
    report = export("me/digits/r1", out=tmp_path / "m.onnx", upload=False, api=api)

    assert logged() == []
    assert (report.uploaded_as, report.artifact, report.warning) == (None, None, None)


def test_a_refused_registration_is_a_warning_and_the_files_stay(api, tmp_path, monkeypatch):
    def refuse(**options):
        raise wandb.errors.CommError("no artifacts here\nmore")

    monkeypatch.setattr(wandb, "init", refuse)

    report = export("me/digits/r1", out=tmp_path / "m.onnx", api=api)

    assert report.path.exists()
    assert report.uploaded_as == "model.onnx"
    assert report.warning == "it was not registered as an artifact: no artifacts here"
