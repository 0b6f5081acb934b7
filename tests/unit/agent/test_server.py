import pytest

from sweepd.errors import InvalidInput, Unauthorized
from sweepd_agent.server import resolve_server

URL = "http://127.0.0.1:8080"


@pytest.fixture
def environ(tmp_path, monkeypatch):
    """An environment whose home, settings and netrc are empty."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return {"WANDB_CONFIG_DIR": str(tmp_path / "config"), "NETRC": str(tmp_path / "netrc")}


def write_settings(folder, **values):
    folder.mkdir(parents=True)
    rows = "".join(f"{key} = {value}\n" for key, value in values.items())
    (folder / "settings").write_text(f"[default]\n{rows}")


def test_what_is_given_wins_over_the_environment(environ, tmp_path):
    environ |= {"WANDB_BASE_URL": "http://other", "WANDB_API_KEY": "other"}

    server = resolve_server(f"{URL}/", "mine", environ=environ, folder=tmp_path)

    assert (server.url, server.api_key) == (URL, "mine")


def test_environment_wins_over_settings(environ, tmp_path):
    environ |= {"WANDB_BASE_URL": URL, "WANDB_API_KEY": "key", "WANDB_ENTITY": "e"}
    write_settings(tmp_path / "config", base_url="http://other", entity="x", project="p")

    server = resolve_server(None, None, environ=environ, folder=tmp_path)

    assert (server.url, server.api_key, server.entity, server.project) == (URL, "key", "e", "p")


def test_settings_of_the_folder_win_over_those_of_the_user(environ, tmp_path):
    write_settings(tmp_path / "config", base_url="http://other", api_key="users")
    write_settings(tmp_path / "wandb", base_url=URL)

    server = resolve_server(None, None, environ=environ, folder=tmp_path)

    assert (server.url, server.api_key) == (URL, "users")


def test_key_is_found_in_netrc_by_host_and_port(environ, tmp_path):
    (tmp_path / "netrc").write_text(
        "machine 127.0.0.1\n  login user\n  password wrong\n"
        "machine 127.0.0.1:8080\n  login user\n  password right\n"
    )

    assert resolve_server(URL, None, environ=environ, folder=tmp_path).api_key == "right"


def test_damaged_files_count_as_empty(environ, tmp_path):
    (tmp_path / "netrc").write_bytes(b"\xff\xfe machine")
    (tmp_path / "config").mkdir()
    (tmp_path / "config/settings").write_text("no section\n")

    with pytest.raises(Unauthorized, match=f"no key for {URL}; set WANDB_API_KEY"):
        resolve_server(URL, None, environ=environ, folder=tmp_path)


def test_key_alone_picks_no_server(environ, tmp_path):
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password key\n")

    with pytest.raises(InvalidInput, match="no server: set WANDB_BASE_URL"):
        resolve_server(None, None, environ=environ, folder=tmp_path)


def test_cloud_is_a_word_for_its_address(environ, tmp_path):
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password key\n")

    server = resolve_server("cloud", None, environ=environ, folder=tmp_path)

    assert (server.url, server.api_key) == ("https://api.wandb.ai", "key")


@pytest.mark.parametrize("url", ["ftp://host", "host:8080", "http://", "http://[", "http://h:x"])
def test_what_is_no_address_is_refused(environ, tmp_path, url):
    with pytest.raises(InvalidInput, match="is not an http or https address"):
        resolve_server(url, "key", environ=environ, folder=tmp_path)


def test_key_is_not_in_the_servers_repr(environ, tmp_path):
    assert "secret" not in repr(resolve_server(URL, "secret", environ=environ, folder=tmp_path))
