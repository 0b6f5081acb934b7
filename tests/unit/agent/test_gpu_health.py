"""What NVML tells of a GPU between trials, and a slot whose GPU is unfit."""

import json
import os
import signal
import subprocess
import sys

import pytest
from fake_nvml import FakeNvml

from sweepd.errors import InvalidInput
from sweepd_agent import EventKind, gpu_health, mps
from sweepd_agent.gpu_health import GpuHealth, why_unwatched
from sweepd_agent.mps import find_mps, mps_variables


@pytest.fixture
def nvml(monkeypatch):
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(gpu_health, "_HELD_S", 0.3)
    return fake


def test_a_machine_with_gpus_and_without_nvml_is_told_what_it_goes_without(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed

    assert "pip install 'sweepd[gpu]'" in (why_unwatched(["0"]) or "")
    assert why_unwatched([]) is None


def test_gpus_that_are_watched_are_not_spoken_of(nvml):
    assert why_unwatched(["0", "1"]) is None


def test_gpu_that_says_nothing_is_fit(nvml):
    health = GpuHealth.of(["0"])

    assert health.problem() is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(15, "it has fallen off the bus", id="lost"),
        pytest.param(6, "the driver does not know it any more", id="not found"),
        pytest.param(999, "the driver cannot read it: NVML error 999", id="unknown"),
        pytest.param(4, None, id="no permission"),
    ],
)
def test_gpu_that_cannot_be_asked_is_told_in_words(nvml, error, words):
    health = GpuHealth.of(["0"])

    nvml.gpus["0"].error = error

    assert health.problem() == words


def test_memory_errors_count_from_the_agents_start(nvml):
    nvml.gpus["0"].ecc = 7
    health = GpuHealth.of(["0"])
    assert health.problem() is None

    nvml.gpus["0"].ecc = 9

    assert health.problem() == "2 uncorrectable memory errors (ECC) since the agent began"


def test_gpu_without_ecc_is_fit(nvml):
    nvml.gpus["0"].ecc = None

    assert GpuHealth.of(["0"]).problem() is None


@pytest.mark.parametrize(
    ("xids", "words"),
    [
        pytest.param([79], "the driver reports Xid 79: it has fallen off the bus", id="its own"),
        pytest.param([13, 31, 43], None, id="of programs"),
        pytest.param([31, 48], "Xid 48: a double-bit error", id="both"),
    ],
)
def test_reports_of_the_driver_count_if_they_are_the_gpus_fault(nvml, xids, words):
    health = GpuHealth.of(["0"])
    nvml.gpus["0"].xids = xids

    found = health.problem()

    assert found is None if words is None else words in found


def test_memory_that_a_dead_process_holds_is_told_after_a_while(nvml):
    health = GpuHealth.of(["0"])
    nvml.gpus["0"].held = {4711: 3 << 30, 815: 1 << 30}

    health.note_end(4711)

    assert health.problem() == "it still holds 3072 MiB of process 4711, which has ended"


def test_memory_that_a_dead_rank_holds_is_told_too(nvml):
    health = GpuHealth.of(["0", "1"])
    shell = ["sh", "-c", "sleep 600 & echo $!; wait"]
    with subprocess.Popen(shell, stdout=subprocess.PIPE, text=True) as launcher:
        rank = int(launcher.stdout.readline())
        nvml.gpus["1"].held = {rank: 2 << 30, 815: 1 << 30}
        health.look(launcher.pid)
        os.kill(rank, signal.SIGKILL)

    health.note_end(launcher.pid)

    words = f"GPU 1: it still holds 2048 MiB of process {rank}, which has ended"
    assert health.problem() == words


def test_memory_that_others_hold_is_none_of_our_business(nvml):
    health = GpuHealth.of(["MIG-1234"])
    nvml.gpus["MIG-1234"].held = {815: 1 << 30}

    health.note_end(4711)

    assert health.problem() is None


def test_nothing_is_watched_without_a_gpu_or_a_driver(nvml):
    nvml.has_driver = False

    assert GpuHealth.of(["0"]) is None
    assert GpuHealth.of([]) is None


@pytest.mark.parametrize(
    ("name", "number"),
    [("GPU-1", "2"), ("GPU-5d5ba0d6-a", "1"), ("GPU-5d5ba0d6-d33d", "0"), ("MIG-1234", "MIG-1234")],
)
def test_gpu_is_known_by_its_uuid_or_as_much_of_it_as_cuda_needs(nvml, name, number):
    health = GpuHealth.of([name])
    assert health.problem() is None

    nvml.gpus[number].error = 15

    assert health.problem() == "it has fallen off the bus"


@pytest.mark.parametrize("name", ["GPU-5d5ba0d6", "GPU-2", "MIG-9", "MIG-GPU-1/1/0"])
def test_gpu_that_nvml_does_not_know_for_sure_is_not_watched(nvml, name):
    assert GpuHealth.of([name]) is None


@pytest.mark.parametrize(
    ("environ", "is_watched"),
    [
        pytest.param({}, True, id="found by the agent, who says the order"),
        pytest.param({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, False, id="in an order of CUDA's"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "1"}, False, id="named, in CUDA's usual order"),
        pytest.param(
            {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, True, id="on the bus"
        ),
    ],
)
def test_number_among_unlike_gpus_is_nvmls_only_in_the_order_of_the_bus(nvml, environ, is_watched):
    assert GpuHealth.of(["1"], environ={"CUDA_VISIBLE_DEVICES": "1"}) is not None
    nvml.gpus["2"].name = "NVIDIA T4"

    assert (GpuHealth.of(["1"], environ=environ) is not None) is is_watched


def test_real_nvml_finds_no_driver_on_a_machine_without_one(monkeypatch):
    pynvml = pytest.importorskip("pynvml")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert GpuHealth.of(["0"]) is None
    else:
        pytest.skip("there is a driver")


def test_slot_on_an_unfit_gpu_is_taken_out_and_the_others_go_on(
    nvml, make_server, make_agent, write_program, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    nvml.gpus["1"].error = 15
    write_program("")
    server = make_server(config={"program": "train.py"}, n_trials=3)

    agent = make_agent(server, gpus="all", slots=2)

    assert agent.wait() == 0
    assert [outcome["device"] for outcome in server.outcomes] == ["gpu 0"] * 3
    (told,) = server.quarantined
    assert told["reason"] == "it has fallen off the bus"
    (event,) = agent.of(EventKind.SLOT_OUT)
    assert event.text == "slot 1 on gpu 1 is taken out: it has fallen off the bus"


WITH_A_CHILD = """
import os, pathlib, subprocess, time
pathlib.Path("child").write_text(str(subprocess.Popen(["sleep", "600"]).pid))
while not os.path.exists("seen"): time.sleep(0.01)
"""


class OfTheChild(dict):
    """What a GPU holds of the process that `WITH_A_CHILD` starts, dead or not."""

    def __init__(self, folder):
        super().__init__()
        self._folder = folder

    def items(self):
        found = self._folder / "child"
        if not found.exists() or not found.read_text():
            return {}.items()
        (self._folder / "seen").touch()
        return {int(found.read_text()): 1 << 30}.items()


def test_gpu_that_holds_memory_of_what_a_trial_has_started_runs_no_other_one(
    nvml, make_server, make_agent, write_program, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    folder = write_program(WITH_A_CHILD).parent
    nvml.gpus["0"].held = OfTheChild(folder)
    server = make_server(config={"program": "train.py"}, n_trials=9)

    agent = make_agent(server, gpus="all", slots=1)

    assert agent.wait() == 1
    (event,) = agent.of(EventKind.SLOT_OUT)
    assert f"it still holds 1024 MiB of process {(folder / 'child').read_text()}" in event.text
    assert len(server.outcomes) == 1


def test_gpu_that_fails_between_trials_runs_no_other_one(
    nvml, make_server, make_agent, write_program, monkeypatch, wait_for
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    write_program("import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)")
    server = make_server(config={"program": "train.py"}, n_trials=9)
    agent = make_agent(server, gpus="all", slots=1)
    wait_for(lambda: agent.of(EventKind.TRIAL_STARTED))

    nvml.gpus["0"].xids = [79]
    (write_program("").parent / "go").touch()

    assert agent.wait() == 1  # there is no other slot
    assert len(server.outcomes) == 1
    assert [told["reason"] for told in server.quarantined] == [
        "the driver reports Xid 79: it has fallen off the bus"
    ]
    assert server.left == ["agent-1"]


@pytest.mark.parametrize("number", ["0", "1"])
def test_each_gpu_of_a_slot_is_watched(nvml, number):
    health = GpuHealth.of(["0", "1"])
    assert health.problem() is None

    nvml.gpus[number].error = 15

    assert health.problem() == f"GPU {number}: it has fallen off the bus"


def test_gpu_of_a_slot_that_nvml_does_not_know_leaves_the_others_watched(nvml):
    health = GpuHealth.of(["GPU-2", "1"])
    assert health.problem() is None

    nvml.gpus["1"].held = {4711: 1 << 30}
    health.note_end(4711)

    assert health.problem().startswith("GPU 1: it still holds 1024 MiB of process 4711")


def test_trial_of_several_gpus_sees_all_of_them_and_its_configuration(
    nvml, daemon, make_server, make_agent, write_program, monkeypatch, tmp_path
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(daemon))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    names = ["CUDA_VISIBLE_DEVICES", "SWEEPD_CONFIG", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"]
    write_program(
        "import json, os\nopen('told.json', 'w').write("
        f"json.dumps([os.environ.get(name) for name in {names}]))"
    )
    server = make_server(config={"program": "train.py"})

    agent = make_agent(server, gpus="all", slots=None, gpus_per_trial=2)

    assert agent.wait() == 0
    assert json.loads((tmp_path / "told.json").read_text()) == ["0,1", '{"lr": 0.1}', None]
    assert [outcome["device"] for outcome in server.outcomes] == ["gpus 0,1"]
    assert agent.of(EventKind.NOTICE)[0].text.startswith("1 GPU is left idle (2)")


def test_packs_are_for_one_gpu(make_server, make_agent):
    with pytest.raises(InvalidInput, match="leave --gpus-per-trial 2 out"):
        make_agent(make_server(), pack="4", gpus_per_trial=2).wait()


@pytest.fixture
def daemon(tmp_path):
    """The pipe directory of an MPS daemon that lives; this process plays it."""
    import os

    (tmp_path / "control").touch()
    (tmp_path / "nvidia-cuda-mps-control.pid").write_text(f"{os.getpid()}\n")
    return tmp_path


def test_mps_is_found_by_the_pipe_directory_that_is_named(daemon):
    assert find_mps({"CUDA_MPS_PIPE_DIRECTORY": str(daemon)}) == daemon
    assert find_mps({"CUDA_MPS_PIPE_DIRECTORY": str(daemon / "nowhere")}) is None


def test_mps_is_found_in_its_usual_place_as_long_as_it_lives(daemon, monkeypatch):
    monkeypatch.setattr(mps, "_USUAL", str(daemon))
    assert find_mps({}) == daemon

    (daemon / "nvidia-cuda-mps-control.pid").write_text("4194305\n")

    assert find_mps({}) is None


@pytest.mark.parametrize(("share", "part"), [(1, "100"), (2, "100"), (4, "50"), (8, "25")])
def test_trials_that_share_a_gpu_have_twice_their_part_of_its_processors(daemon, share, part):
    assert mps_variables(daemon, share=share, environ={}) == {
        "CUDA_MPS_PIPE_DIRECTORY": str(daemon),
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": part,
    }


def test_what_the_environment_says_of_the_part_stands(daemon):
    environ = {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "70"}

    found = mps_variables(daemon, share=4, environ=environ)

    assert found["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "70"


def test_trial_on_a_shared_gpu_is_told_its_part_of_memory_and_processors(
    daemon, make_server, make_agent, write_program, monkeypatch, tmp_path
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(daemon))
    names = ["SWEEPD_MEMORY_FRACTION", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"]
    write_program(
        "import json, os\nopen('told.json', 'w').write("
        f"json.dumps([os.environ.get(name) for name in {names}]))"
    )
    server = make_server(config={"program": "train.py"})

    make_agent(server, gpus="all", slots=4).wait()

    assert (tmp_path / "told.json").read_text() == '["0.225", "50"]'
