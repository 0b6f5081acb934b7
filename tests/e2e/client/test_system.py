"""What the client's own system tests expect of a server, and no other test of ours asks."""

import subprocess
import textwrap

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def git(real_client):
    """Runs git in a folder, as somebody with a name; returns what it printed."""

    def git(folder, *arguments):
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        command = ["git", *who, *arguments]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip()

    return git


def test_a_person_is_the_one_member_of_their_entity(real_client):
    found = real_client.python(
        textwrap.dedent(
            """
            import json, wandb
            api = wandb.Api()
            (member,) = api.team("admin").members
            print(json.dumps([member.name, member.account_type, repr(member), api.viewer.teams]))
            """
        )
    )

    *member, teams = found
    assert member == ["admin", "USER", "<Member admin (USER)>"]
    assert "admin" in teams


def test_a_run_is_set_to_a_state_once(real_client):
    found = real_client.python(
        textwrap.dedent(
            """
            import json, wandb
            made = wandb.Api().create_run(project="states", run_id="r")
            first, second = (wandb.Api().run("states/r") for _ in range(2))
            done = first.update_state("failed")
            try:
                second.update_state("failed")
            except wandb.Error as error:
                refused = str(error)
            again = first.update_state("pending")
            print(json.dumps([done, refused, again, wandb.Api().run("states/r").state]))
            """
        )
    )

    done, refused, again, state = found
    assert done
    assert "invalid state transition" in refused
    assert again
    assert state == "pending"


def test_a_run_that_need_not_say_that_it_ended_goes_on(real_client):
    states = real_client.python(
        textwrap.dedent(
            """
            import json, wandb
            states = []
            for says_so in (True, False):
                options = wandb.Settings(x_update_finish_state=says_so)
                with wandb.init(project="ends", settings=options) as run:
                    run.log({"x": 1})
                states.append(wandb.Api().run(run.path).state)
            print(json.dumps(states))
            """
        )
    )

    assert states == ["finished", "running"]


def test_a_resumed_run_keeps_its_steps_time_masks_and_console(real_client):
    program = textwrap.dedent(
        """
        import json, sys, time
        import numpy as np
        import wandb

        part = sys.argv[1]
        settings = wandb.Settings(console="wrap", console_multipart=True)
        resume = "must" if part == "second" else None
        run = wandb.init(project="parts", id="one", resume=resume, settings=settings)
        began = run._start_runtime
        mask = {"mask_data": np.ones((1, 1), dtype=np.uint8), "class_labels": {1: "square"}}
        picture = wandb.Image(np.zeros((2, 2, 3), dtype=np.uint8), masks={"seen": mask})
        if part == "first":
            run.log({"first": picture}, step=15)
            time.sleep(1.2)
        else:
            run.log({"second": picture})
        print("the", part, "part")
        run.finish()
        got = wandb.Api().run("parts/one")
        print(json.dumps({
            "began": began, "runtime": got.summary["_wandb"]["runtime"],
            "steps": [row["_step"] for row in got.scan_history()],
            "masks": sorted(got.rawconfig["_wandb"]["mask/class_labels"]),
            "logs": len([file for file in got.files() if file.name.startswith("logs/output_")]),
            "lines": [line.content for line in got.console_logs()],
        }))
        """
    )
    (real_client.folder / "part.py").write_text(program)

    first, second = (
        real_client.python(
            "import subprocess, sys; print(subprocess.run([sys.executable, 'part.py',"
            f" {part!r}], stdout=subprocess.PIPE, text=True, check=True).stdout)"
        )
        for part in ("first", "second")
    )

    assert first["runtime"] >= 1
    assert second["began"] == first["runtime"]
    assert second["steps"] == [15, 16]
    assert second["masks"] == [f"{key}_wandb_delimeter_seen" for key in ("first", "second")]
    assert second["logs"] == 2
    assert second["lines"] == ["the first part", "the second part"]


def test_commit_remote_changes_and_code_are_kept_with_a_run(real_client, git):
    home = real_client.folder / "repository"
    for folder, options in {home: [], real_client.folder / "remote": ["--bare"]}.items():
        git(real_client.folder, "init", "--quiet", "--initial-branch=main", *options, str(folder))
    (home / "train.py").write_text(
        "import json, wandb\n"
        "with wandb.init(project='git', save_code=True) as run:\n"
        "    run.log_code('.')\n"
        "print(json.dumps(run.id))\n"
    )
    git(home, "add", ".")
    git(home, "commit", "--quiet", "--message=first")
    git(home, "remote", "add", "origin", str(real_client.folder / "remote"))
    git(home, "push", "--quiet", "--set-upstream", "origin", "main")
    pushed = git(home, "rev-parse", "HEAD")
    (home / "train.py").write_text((home / "train.py").read_text() + "# pushed nowhere\n")
    git(home, "commit", "--quiet", "--all", "--message=second")
    (home / "staged.txt").write_text("staged")
    git(home, "add", "staged.txt")

    found = real_client.python(
        textwrap.dedent(
            """
            import json, os, subprocess, sys, wandb
            plain = {k: v for k, v in os.environ.items() if k != "WANDB_DIR"}
            done = subprocess.run([sys.executable, "train.py"], cwd="repository", env=plain,
                                  stdout=subprocess.PIPE, text=True, check=True)
            run = wandb.Api().run("git/" + json.loads(done.stdout.strip().splitlines()[-1]))
            files = {file.name: file for file in run.files()}
            (code,) = [one for one in run.logged_artifacts() if one.type == "code"]
            print(json.dumps({
                "commit": run.commit, "git": run.metadata["git"], "files": sorted(files),
                "diff": files["diff.patch"].download(root="back").read(),
                "code": sorted(code.manifest.entries), "path": code.name,
                "named": run.rawconfig["_wandb"]["code_path"],
            }))
            """
        )
    )

    assert found["commit"] == found["git"]["commit"] == git(home, "rev-parse", "HEAD")
    assert found["git"]["remote"].endswith("/remote")
    assert f"diff_{pushed}.patch" in found["files"]
    assert "staged.txt" in found["diff"]
    assert "train.py" in found["code"]
    assert found["path"].startswith(found["named"])


def test_an_alert_that_is_raised_again_soon_is_kept_once(real_client, query):
    real_client.python(
        textwrap.dedent(
            """
            import wandb
            with wandb.init(project="alerts", id="r") as run:
                run.alert("hot", "first", level=wandb.AlertLevel.WARN, wait_duration=300)
                run.alert("hot", "again", wait_duration=300)
                run.alert("cold", "other")
            print("null")
            """
        )
    )

    run = query(
        '{ project(name: "alerts") { run(name: "r") { sweepdAlerts { title text severity repeats'
        " } } } }"
    )["project"]["run"]
    alerts = sorted(run["sweepdAlerts"], key=lambda alert: alert["title"])
    assert alerts == [
        {"title": "cold", "text": "other", "severity": "INFO", "repeats": 0},
        {"title": "hot", "text": "first", "severity": "WARN", "repeats": 1},
    ]


def test_a_file_from_outside_its_folder_is_uploaded_and_found(real_client):
    found = real_client.python(
        textwrap.dedent(
            """
            import json, pathlib, wandb
            pathlib.Path("inner").mkdir()
            pathlib.Path("late.txt").write_text("late")
            made = wandb.Api().create_run(project="outside", run_id="r")
            file = made.upload_file("late.txt", root="inner")
            names = [file.name for file in wandb.Api().run("outside/r").files()]
            print(json.dumps([file.name, file.size, names]))
            """
        )
    )

    assert found == ["__/late.txt", 4, ["__/late.txt"]]


def test_pull_fetches_what_is_not_there_yet(real_client):
    run = real_client.python(
        textwrap.dedent(
            """
            import json, pathlib, wandb
            pathlib.Path("weights.h5").write_text("weights")
            with wandb.init(project="pulled") as run:
                run.save("weights.h5")
            print(json.dumps(run.id))
            """
        )
    )
    (real_client.folder / "weights.h5").unlink()

    where = ("--entity", "admin", "--project", "pulled")
    first = real_client.wandb("pull", run, *where)
    second = real_client.wandb("pull", run, *where)

    assert (real_client.folder / "weights.h5").read_text() == "weights"
    assert "File weights.h5\n" in first
    assert "File weights.h5 is up to date" in second


def test_names_of_every_script_come_back(real_client):
    found = real_client.python(
        textwrap.dedent(
            """
            import json, wandb
            word = "größe 数据 🎉 مرحبا"
            with wandb.init(project=word, name=word, tags=[word], group=word, notes=word,
                            job_type=word, config={word: {word: word}}) as run:
                run.define_metric(word, summary="max")
                run.log({word: 1, "text": word})
                run.summary[word + "!"] = word
                print(word)
            api = wandb.Api()
            (got,) = api.runs(word, {"tags": word, "group": word, "display_name": word})
            found = [got.project, got.name, got.tags[0], got.group, got.notes, got.job_type,
                got.config[word][word], got.summary[word + "!"],
                list(got.scan_history())[0]["text"], list(got.console_logs())[0].content]
            print(json.dumps([
                [one == word for one in found], got.history(keys=[word], pandas=False)[0][word],
                dict(got.summary[word]), got.url.isascii(), api.project(word).name == word,
            ]))
            """
        )
    )

    assert found == [[True] * 10, 1, {"max": 1}, True, True]


def test_over_a_thousand_runs_are_read_in_pages_of_every_size(real_client):
    found = real_client.python(
        textwrap.dedent(
            """
            import json
            from concurrent.futures import ThreadPoolExecutor
            import wandb
            api = wandb.Api()
            make = lambda number: api.create_run(project="thousand", run_id=f"r{number:04}")
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(make, range(1100)))
            found = []
            for per_page in (7, 50, 1000, 5000):
                names = [run.id for run in wandb.Api().runs("thousand", order="+name",
                                                            per_page=per_page)]
                found.append([len(names), names == sorted(set(names))])
            some = wandb.Api().runs("thousand", {"name": {"$regex": "^r10"}}, per_page=9)
            print(json.dumps([found, len(some), len(list(some)), some[99].id is not None]))
            """
        ),
        timeout_s=110,
    )

    pages, length, listed, indexed = found
    assert pages == [[1100, True]] * 4
    assert length == listed == 100
    assert indexed
