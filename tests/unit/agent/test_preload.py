import importlib
import sys

import pytest

from sweepd_agent.preload import ImportNotes, list_imports


@pytest.fixture
def imports_of(tmp_path):
    def read(train, files=None):
        for name, text in {"train.py": train, **(files or {})}.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return list_imports(tmp_path / "train.py", [tmp_path])

    return read


def test_modules_are_listed_in_the_order_of_the_text(imports_of):
    assert imports_of("import zlib, json\nfrom email import message\nimport zlib\n") == [
        "zlib", "json", "email"
    ]  # fmt: skip


def test_only_what_an_import_of_the_file_would_import_is_listed(imports_of):
    text = """
try:
    import zlib
except ImportError:
    import bz2
if True:
    with open("x"):
        import json
def f():
    import email
class C:
    import csv
"""
    assert imports_of(text) == ["zlib", "bz2", "json"]


def test_users_own_modules_are_followed_and_not_listed(imports_of):
    names = imports_of(
        "import helper\nfrom pack.deep import thing",
        {
            "helper.py": "import zlib",
            "pack/__init__.py": "import json",
            "pack/deep.py": "from . import side\nfrom .more import x\nimport csv",
            "pack/side.py": "import email",
            "pack/more.py": "import bz2",
        },
    )

    assert set(names) == {"zlib", "json", "csv", "email", "bz2"}


def test_circles_end(imports_of):
    files = {"a.py": "import b\nimport zlib", "b.py": "import a\nimport json"}

    assert imports_of("import a", files) == ["json", "zlib"]


def test_wandbs_own_folder_is_not_mistaken_for_the_package(imports_of, tmp_path):
    (tmp_path / "wandb").mkdir()

    assert imports_of("import wandb")[0] == "wandb"


def test_wandb_is_imported_ahead_of_what_may_use_it(imports_of):
    assert imports_of("import numpy") == [
        "wandb", "wandb.apis.public", "wandb.sdk.launch", "numpy"
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["def f(:", "import no_such_module_at_all", "", "\x00"])
def test_what_cannot_be_read_or_found_is_left_out(imports_of, text):
    assert imports_of(text) == []


def test_program_that_is_not_there_imports_nothing(tmp_path):
    assert list_imports(tmp_path / "none.py", [tmp_path]) == []


def test_notes_hold_installed_modules_in_the_order_in_which_imports_begin(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("sched", "own_module", "colorsys"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "own_module.py").write_text("import colorsys")
    notes = ImportNotes()
    monkeypatch.setattr(sys, "meta_path", [notes, *sys.meta_path])

    importlib.import_module("own_module")
    importlib.import_module("sched")
    with pytest.raises(ImportError):
        importlib.import_module("no_such_module_at_all")

    assert [name for name in notes.installed() if name != "heapq"] == ["colorsys", "sched"]
