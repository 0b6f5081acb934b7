"""`wandb sync` in all its forms: whole folders, parts, copies, while a run still logs."""

import textwrap

import pytest

pytestmark = pytest.mark.slow

WRITE = """
import json, wandb
folders = []
for number in range({n}):
    with wandb.init(project="{project}", id="{project}{{}}".format(number)) as run:
        run.log({{"x": number}})
        run.summary["named"] = "ünï"
    folders.append(run.settings.sync_dir)
print(json.dumps(folders))
"""


@pytest.fixture
def rows(real_client):
    """Reads the values of `x` of every run of a project, by run."""

    def rows(project):
        return real_client.python(
            "import json, wandb; print(json.dumps({run.id: [row['x'] for row in"
            f" run.scan_history()] for run in wandb.Api().runs({project!r})}}))"
        )

    return rows


def test_a_whole_folder_is_synced_once_and_cleaned(real_client, rows):
    folders = real_client.python(WRITE.format(project="all", n=3), WANDB_MODE="offline")

    first = real_client.wandb("sync", "--yes")
    again = real_client.wandb("sync", "--yes")
    cleaned = real_client.wandb("clean", "--force", "--min-hours", "0")

    assert first.count("Finished syncing") == 3
    assert "No runs to sync" in again
    assert rows("all") == {"all0": [0], "all1": [1], "all2": [2]}
    assert len(folders) == 3
    assert "3 run(s)" in cleaned


def test_a_folder_is_synced_to_another_project_under_another_name(real_client, rows):
    (folder,) = real_client.python(WRITE.format(project="here", n=1), WANDB_MODE="offline")

    real_client.wandb("sync", "--project", "there", "--id", "copy", folder)

    assert rows("there") == {"copy": [0]}


def test_the_parts_of_a_resumed_run_are_synced_in_their_order(real_client, rows):
    folders = real_client.python(
        textwrap.dedent(
            """
            import json, wandb
            folders = []
            for value in range(3):
                resume = "must" if folders else None
                with wandb.init(project="parted", id="p", resume=resume) as run:
                    run.log({"x": value})
                folders.append(run.settings.sync_dir)
            print(json.dumps(folders))
            """
        )
    )

    first, second, third = folders
    real_client.wandb("sync", "--include-online", "--yes", "--id", "copy", third, first, second)

    assert rows("parted") == {"p": [0, 1, 2], "copy": [0, 1, 2]}


def test_a_run_is_synced_while_it_still_logs(real_client):
    found = real_client.python(
        textwrap.dedent(
            """
            import json, subprocess, sys, time, wandb
            run = wandb.init(project="following", id="f", mode="offline")
            command = [sys.executable, "-m", "wandb", "beta", "sync", "--live"]
            following = subprocess.Popen([*command, run.settings.sync_dir])
            run.log({"long": "a" * 40_000})


            def is_there():
                try:
                    return bool(wandb.Api().run("following/f"))
                except wandb.CommError:
                    return False

            deadline = time.monotonic() + 30
            while not is_there():
                assert time.monotonic() < deadline, "it did not begin while the run logged"
                run.log({"x": 1})
                time.sleep(0.2)
            run.summary["last"] = "word"
            run.finish()
            code = following.wait(30)
            got = wandb.Api().run("following/f")
            print(json.dumps([code, got.summary["last"], got.state]))
            """
        ),
        timeout_s=90,
    )

    assert found == [0, "word", "finished"]
