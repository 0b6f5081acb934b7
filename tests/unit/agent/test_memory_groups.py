import pytest

from sweepd_agent.memory_groups import KillWatch


class Machine:
    """A made-up /proc and the groups of a machine, which count kills in `file`."""

    def __init__(self, folder, *, version, root="/"):
        self.proc, self.mount = folder / "proc", folder / "cgroup"
        self.file = "memory.oom_control" if version == 1 else "memory.events"
        self._line = "4:cpu,memory:{}\n0::/elsewhere\n" if version == 1 else "0::{}\n"
        kind, words = ("cgroup", "rw,memory") if version == 1 else ("cgroup2", "rw")
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self" / "mountinfo").write_text(
            "22 1 8:1 / / rw - ext4 /dev/sda rw\n"
            f"30 22 0:9 / {folder}/freezer rw - cgroup cgroup rw,freezer\n"
            f"31 22 0:2 {root} {self.mount} rw shared:1 - {kind} {kind} {words}\n"
        )

    def place(self, process, group):
        """Put a process into a group."""
        (self.proc / str(process)).mkdir(exist_ok=True)
        (self.proc / str(process) / "cgroup").write_text(self._line.format(group))

    def count(self, group, kills):
        """Say how many processes of a group were killed."""
        folder = self.mount / group.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.file).write_text(f"under_oom 0\noom_kill {kills}\n")


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def machine(request, tmp_path):
    machine = Machine(tmp_path, version=request.param)
    machine.place("self", "/job")
    machine.count("/job", 3)
    return machine


def test_kills_in_the_agents_group_are_counted_from_the_start_of_the_watch(machine):
    watch = KillWatch(machine.proc)
    assert watch.kills() == 0

    machine.count("/job", 5)

    assert watch.kills() == 2


def test_kills_in_a_group_that_the_trial_moved_to_are_counted(machine):
    watch = KillWatch(machine.proc)
    machine.place(77, "/scope")
    machine.count("/scope", 1)
    watch.follow(77)

    machine.count("/scope", 2)

    assert watch.kills() == 1


def test_process_that_has_ended_is_followed_nowhere(machine):
    watch = KillWatch(machine.proc)

    watch.follow(99)

    assert watch.kills() == 0


def test_group_above_tells_of_one_that_is_gone(tmp_path):
    machine = Machine(tmp_path, version=2)
    machine.place("self", "/user/agent")
    machine.place(77, "/user/scope")
    for group in ("/user/agent", "/user", "/user/scope"):
        machine.count(group, 0)
    watch = KillWatch(machine.proc)
    watch.follow(77)

    machine.count("/user", 1)
    (machine.mount / "user" / "scope" / machine.file).unlink()

    assert watch.kills() == 1


def test_container_sees_its_group_as_the_root(tmp_path):
    machine = Machine(tmp_path, version=2, root="/docker/abc")
    machine.place("self", "/docker/abc")
    machine.count("/", 0)
    watch = KillWatch(machine.proc)

    machine.count("/", 1)

    assert watch.kills() == 1


def test_group_outside_of_what_a_container_sees_counts_nothing_of_its_own(tmp_path):
    machine = Machine(tmp_path, version=2)
    machine.place("self", "/../other")

    assert KillWatch(machine.proc).kills() == 0


def test_machine_without_groups_counts_nothing(tmp_path):
    assert KillWatch(tmp_path).kills() == 0
