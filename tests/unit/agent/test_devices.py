import os

import pytest

from sweepd.errors import InvalidInput, NoDevice
from sweepd_agent import devices
from sweepd_agent.devices import deal_gpus, make_slots

LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 3g.20gb     Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-11111111-d33d-2b2c-524d-9e3d8d2b8a77)
"""
MIG = ("MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb")


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    monkeypatch.setattr(devices, "count_cores", lambda: 16)


@pytest.fixture
def no_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A stand-in for the command, which lists one whole GPU and one that is cut in two."""
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n/bin/cat <<'X'\n{LISTING}X\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def slots_of(gpus="all", *, per_gpu=None, slots=None, **environ):
    return make_slots(gpus, per_gpu=per_gpu, slots=slots, environ=environ)


def groups_of(visible, size, *, slots=None, said=None, **more):
    return make_slots(
        "all",
        per_gpu=more.pop("per_gpu", None),
        slots=slots,
        environ={"CUDA_VISIBLE_DEVICES": visible},
        gpus_per_trial=size,
        notice=said.append if said is not None else None,
        **more,
    )


def test_gpus_that_are_visible_get_a_slot_each():
    slots = slots_of(CUDA_VISIBLE_DEVICES="3, GPU-aa,MIG-bb")

    assert [slot.visible for slot in slots] == ["3", "GPU-aa", "MIG-bb"]
    assert [slot.threads for slot in slots] == [5, 5, 5]


def test_listing_names_gpus_by_number_and_mig_slices_by_uuid(nvidia_smi):
    assert [slot.visible for slot in slots_of()] == [*MIG, "1"]


def test_gpu_in_mig_mode_without_slices_is_none():
    first, *_, last = LISTING.splitlines(keepends=True)

    found = devices._parse_listing(f"{first}  No MIG devices found.\n{last}")

    assert found == ["1"]


def test_numbers_count_what_is_visible():
    slots = slots_of("1,0", CUDA_VISIBLE_DEVICES="4,7")

    assert [slot.visible for slot in slots] == ["7", "4"]


def test_per_gpu_slots_share_a_gpu_and_total_slots_are_dealt_out():
    both = {"CUDA_VISIBLE_DEVICES": "0,1"}

    assert [slot.visible for slot in slots_of(per_gpu=2, **both)] == ["0", "1", "0", "1"]
    assert [slot.visible for slot in slots_of(slots=3, **both)] == ["0", "1", "0"]
    assert {slot.threads for slot in slots_of(per_gpu=2, **both)} == {4}


@pytest.mark.parametrize("hidden", ["", "-1", "NoDevFiles", "none"])
def test_no_visible_gpu_means_the_cpu(hidden):
    assert {slot.device for slot in slots_of(CUDA_VISIBLE_DEVICES=hidden)} == {"cpu"}


def test_cpu_gets_a_slot_per_core_four_at_most(no_gpu):
    assert len(slots_of()) == 4
    assert len(slots_of(per_gpu=1)) == 1
    assert slots_of(per_gpu=1)[0].visible is None


def test_none_hides_the_gpus_from_the_trials():
    (slot,) = slots_of("none", per_gpu=1, CUDA_VISIBLE_DEVICES="0,1")

    assert (slot.device, slot.visible) == ("cpu", "")


def test_gpu_that_is_not_there_is_said(no_gpu):
    with pytest.raises(NoDevice, match="there is no GPU 0 on this machine; there are: none"):
        slots_of("0")
    with pytest.raises(NoDevice, match="there is no GPU 5 on this machine; there are: 0 to 1"):
        slots_of("0,5", CUDA_VISIBLE_DEVICES="0,1")


@pytest.mark.parametrize(
    "values", [{"gpus": "first"}, {"gpus": "0;1"}, {"per_gpu": 0}, {"slots": -1}]
)
def test_wrong_numbers_are_refused(values):
    with pytest.raises(InvalidInput, match="must be"):
        slots_of(**values)


def test_more_slots_than_cores_still_get_a_thread_each():
    assert {slot.threads for slot in slots_of("none", slots=64)} == {1}


def test_cores_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.undo()

    assert 1 <= devices.count_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("slots", "fractions"),
    [
        pytest.param(2, [None, None], id="alone"),
        pytest.param(4, [0.45, 0.45, 0.45, 0.45], id="two on each"),
        pytest.param(3, [0.45, None, 0.45], id="unevenly"),
    ],
)
def test_slots_of_one_gpu_share_its_memory_less_what_contexts_take(slots, fractions):
    made = make_slots("all", per_gpu=None, slots=slots, environ={"CUDA_VISIBLE_DEVICES": "0,1"})

    assert [slot.memory_fraction for slot in made] == fractions


def test_fraction_of_memory_that_is_given_stands():
    environ = {"CUDA_VISIBLE_DEVICES": "0"}

    made = make_slots("all", per_gpu=2, slots=None, environ=environ, memory_fraction=0.3)

    assert [slot.memory_fraction for slot in made] == [0.3, 0.3]


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.5])
def test_fraction_of_memory_out_of_bounds_is_refused(fraction):
    with pytest.raises(InvalidInput, match="above 0 and at most 1"):
        make_slots("none", per_gpu=None, slots=None, environ={}, memory_fraction=fraction)


def test_gpus_are_cut_into_groups_and_the_cores_shared_out_among_their_processes():
    slots = groups_of("0,1,GPU-aa,3", 2)

    assert [slot.visible for slot in slots] == ["0,1", "GPU-aa,3"]
    assert [slot.device for slot in slots] == ["gpus 0,1", "gpus GPU-aa,3"]
    assert slots[1].gpus == ("GPU-aa", "3")
    assert {(slot.threads, slot.share, slot.memory_fraction) for slot in slots} == {(4, 1, None)}


def test_fewer_slots_than_groups_leave_the_last_out():
    assert [slot.visible for slot in groups_of("0,1,2,3", 2, slots=1)] == ["0,1"]


def test_gpus_that_make_no_whole_group_are_named():
    said = []

    slots = groups_of("0,1,2,3,4", 3, said=said)

    assert [slot.visible for slot in slots] == ["0,1,2"]
    assert said == ["2 GPUs are left idle (3, 4): 5 GPUs make 1 slot of 3"]


@pytest.mark.parametrize(("visible", "there"), [("0,1,2", "3"), ("0", "1"), ("", "none")])
def test_trial_that_takes_more_gpus_than_there_are_is_refused(visible, there):
    with pytest.raises(NoDevice, match=f"4 takes 4 GPUs; there are here: {there}$"):
        groups_of(visible, 4)


@pytest.mark.parametrize(
    ("size", "more", "words"),
    [
        pytest.param(0, {}, "--gpus-per-trial must be at least 1, not 0", id="none"),
        pytest.param(2, {"per_gpu": 2}, "--per-gpu 2 is for trials that share", id="shared"),
        pytest.param(2, {"memory_fraction": 0.5}, "--memory-fraction 0.5 is for", id="memory"),
        pytest.param(2, {"slots": 3}, "--slots must be at most 2, not 3: 4 GPUs", id="slots"),
    ],
)
def test_groups_that_cannot_be_are_refused(size, more, words):
    with pytest.raises(InvalidInput, match=words):
        groups_of("0,1,2,3", size, **more)


def test_mig_slices_are_no_group():
    with pytest.raises(InvalidInput, match=r"must be 1 with MIG slices, not 2: .* there is MIG-bb"):
        groups_of("0,MIG-bb,MIG-cc", 2)


FOUR = ["0", "1", "GPU-aa", "3"]


@pytest.mark.parametrize(
    ("gpus", "n_agents", "size", "dealt"),
    [
        pytest.param("all", 4, 1, ["0", "1", "2", "3"], id="one each"),
        pytest.param("all", 3, 1, ["0,3", "1", "2"], id="every third"),
        pytest.param("3,1,0", 2, 1, ["3,0", "1"], id="those that are chosen"),
        pytest.param("0,0,1,1", 2, 1, ["0,0", "1,1"], id="twice named"),
        pytest.param("all", 2, 2, ["0,1", "2,3"], id="in groups"),
        pytest.param("0,1,3", 1, 2, ["0,1,3"], id="no whole group for the last"),
    ],
)
def test_gpus_of_a_machine_are_dealt_out_to_its_agents(gpus, n_agents, size, dealt):
    assert deal_gpus(gpus, FOUR, n_agents, size=size) == dealt


def test_agents_of_a_machine_without_gpus_are_told_what_one_is():
    assert deal_gpus("all", [], 3) == ["all", "all", "all"]


@pytest.mark.parametrize(
    ("gpus", "n_agents", "size", "words"),
    [
        pytest.param("all", 5, 1, "5 agents on one machine take 5 GPUs, .*: 4; one agent", id="5"),
        pytest.param("2,2", 2, 1, "take 2 GPUs, and no two the same; there are: 1;", id="same"),
        pytest.param("all", 3, 2, "take 6 GPUs, .* there are: 4;", id="groups"),
        pytest.param("4", 2, 1, "there is no GPU 4 on this machine", id="not there"),
    ],
)
def test_agents_that_would_share_a_gpu_unknown_to_each_other_are_refused(
    gpus, n_agents, size, words
):
    with pytest.raises(NoDevice, match=words):
        deal_gpus(gpus, FOUR, n_agents, size=size)
