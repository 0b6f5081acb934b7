"""`sweep launch`: what it starts, and how it finds that again."""

import json

import pytest

SWEEP = "alice/toys/s1"


@pytest.fixture
def launch(sweep, monkeypatch, tmp_path):
    """Run `sweep launch` for a server that pods reach, and not we; it keeps all in our folder."""
    monkeypatch.setenv("WANDB_BASE_URL", "https://sweeps.example")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", "")

    def run(*arguments, **how):
        return sweep("launch", *arguments, **how)

    return run


def test_manifests_are_written_and_the_command_that_applies_them_is_printed(launch, tmp_path):
    done = launch(SWEEP, "--on=k8s", "--agents=2", "--set", "image=mine:1", code=0)

    folder = tmp_path / "state" / "sweepd" / "launches" / "s1-k8s-1"
    assert "s1-k8s-1: 2 agents on k8s" in done.out
    assert f"kubectl apply --kustomize {folder}" in done.out
    assert "image: mine:1" in (folder / "job.yaml").read_text()


def test_gpus_of_each_trial_are_passed_on_to_the_agents(launch, tmp_path):
    launch(SWEEP, "--on=k8s", "--gpus-per-trial=2", code=0)

    job = tmp_path / "state" / "sweepd" / "launches" / "s1-k8s-1" / "job.yaml"
    assert "--gpus-per-trial=2" in job.read_text()


def test_agents_are_told_to_find_out_how_many_trials_a_gpu_takes(launch, tmp_path):
    launch(SWEEP, "--on=k8s", "--per-gpu=auto", code=0)

    job = tmp_path / "state" / "sweepd" / "launches" / "s1-k8s-1" / "job.yaml"
    assert "--per-gpu=auto" in job.read_text()


def test_agents_that_would_refuse_their_options_are_not_launched(launch, tmp_path):
    err = launch(SWEEP, "--on=k8s", "--per-gpu=auto", "--slots=2", code=2).err

    assert "--slots 2 says otherwise" in err
    assert not (tmp_path / "state").exists()


def test_a_server_that_only_the_agents_reach_is_no_obstacle(launch):
    err = launch(SWEEP, "--on=k8s", code=0).err

    assert "whether there is such a sweep is not known here: no answer from" in err


@pytest.mark.parametrize("name", ["nope", "alice/toys/nope"])
def test_nothing_is_launched_for_a_sweep_that_there_is_not(
    ours, sweep, monkeypatch, tmp_path, name
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)

    done = sweep("launch", name, "--on=k8s", "--server", ours.url, code=1)

    assert f"there is no sweep {name} on" in done.err
    assert not (tmp_path / "state").exists()


def test_nothing_is_launched_for_a_sweep_that_has_ended(ours, sweep, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    ours.sweep["state"] = "FAILED"
    ours.sweep["sweepdStatus"] |= {"failed": 5, "stopReason": "the first 5 trials failed"}

    err = sweep("launch", "s1", "--on=k8s", "--server", ours.url, code=1).err

    assert "alice/toys/s1 has ended (failed: the first 5 trials failed), so that agents" in err
    assert f"; sweep retry alice/toys/s1 --server {ours.url} takes failed trials up" in err
    assert not (tmp_path / "state").exists()


def test_a_launch_is_told_as_json(launch):
    done = launch(SWEEP, "--on=k8s", "--json", code=0)

    assert json.loads(done.out)["launch"] == "s1-k8s-1"
    assert launch(SWEEP, "--on=k8s", "--json", code=0).json["launch"] == "s1-k8s-2"


def test_the_sweep_is_found_again_by_its_id_alone(launch):
    launch(SWEEP, "--on=k8s", code=0)

    done = launch("s1", "--status", code=1)

    assert "kubectl is not installed here" in done.err  # it was found: kubectl was asked for


@pytest.mark.parametrize("what", ["--status", "--logs", "--stop"])
def test_a_sweep_without_a_launch_is_told_so(launch, what):
    assert "you have launched no agents of alice/toys/s1" in launch(SWEEP, what, code=1).err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--set", "image"], "NAME=VALUE, not 'image'", id="no value"),
        pytest.param(["--set", "colour=red"], "local has no setting colour", id="no such"),
        pytest.param(["--on", "moon"], "'docker', 'k8s', 'local', 'ray', 'slurm'", id="no engine"),
        pytest.param(["--agents", "0"], "0 is not in the range", id="no agents"),
    ],
)
def test_wrong_input_is_one_sentence(launch, arguments, said):
    done = launch(SWEEP, *arguments, code=2)

    assert said in done.err
