"""Settings are shown and changed on the command line; the file stays the user's own."""

from __future__ import annotations

import io
import json
import stat
import tomllib
from pathlib import Path

import pytest

from cli_process import Start, start
from gdl.__main__ import check_ui
from gdl.cli.app import run

__all__ = ["start"]

MINE = """\
# my settings
backend = "vastai"  # the cheapest

[install]
# as tested
version = "0.32.0"

[engine.env]
VLLM_LOGGING_LEVEL = "INFO"
MY_TOKEN = "plantedValue"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GDL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = tmp_path / "config" / "gdl-tui" / "config.toml"
    made.parent.mkdir(parents=True)
    made.write_text(MINE)
    made.chmod(0o640)
    return made


def config(*words: str) -> int:
    return run(("config", *words), check_ui=check_ui)


def test_one_setting_is_changed_and_all_else_stays(file: Path) -> None:
    assert config("set", "max_price", "0.5") == 0
    assert config("set", "install.python", "3.12") == 0
    assert config("set", "backend", "runpod,vastai") == 0
    assert config("set", "engine.args", '["--max-num-seqs", "64"]') == 0
    text = file.read_text()
    assert text.startswith('# my settings\nbackend = "runpod,vastai"  # the cheapest\n')
    assert "# as tested\n" in text
    data = tomllib.loads(text)
    assert (data["max_price"], data["install"]["python"]) == (0.5, "3.12")
    assert data["engine"]["args"] == ["--max-num-seqs", "64"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    for name in ("max_price", "install.python", "engine.args"):
        assert config("unset", name) == 0
    assert config("set", "backend", "vastai") == 0
    assert tomllib.loads(file.read_text()) == tomllib.loads(MINE)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("set", "max_prise", "1"), "did you mean max_price?"),
        (("set", "engine.prot", "1"), "did you mean engine.port?"),
        (("set", "max_price", "0"), "setting max_price must be greater than 0"),
        (("set", "tunnel", "telnet"), "'auto', 'openssh' or 'built-in'"),
        (("set", "install", "x"), "install is a table"),
        (("set", "max_price"), "no value for max_price"),
        (("set", "vastai.key", "plantedKey"), "stays in the shell's history"),
        (("get", "hour"), "did you mean hours?"),
        (("unset", "nosuch.thing"), "there is no setting nosuch.thing"),
        (("edit",), "an editor needs a terminal"),
        (("set", "theme", "nrod"), "did you mean nord?"),
        (("set", "keys", '{"offers.deploi" = "d"}'), "did you mean offers.deploy?"),
        (("set", "keys.x", "y"), "[keys]: there is no action x"),
        (("set", "backend", "vastai,vsatai"), "unknown backend vsatai"),
        (("set", "engine.name", "vlm"), "did you mean vllm?"),
        (("set", "sandbox.scenario", "nosuch"), "nosuch"),
        (("set", "max_price", "-1"), "setting max_price must be greater than 0"),
        (("set", "engine.args", "--foo bar"), """as in TOML: '["--max-num-seqs", "64"]'"""),
        (("set", "theme", "--jsno"), "--jsno is neither an option nor"),
        (("set", "engine.args", '["--api-key=plantedKey"]'), "stays in the shell's history"),
        (("set", "engine.env.A_TOKEN", "plantedKey"), "stays in the shell's history"),
        (("set", "engine.env", '{A_TOKEN = "plantedKey"}'), "stays in the shell's history"),
        (("unset", "install"), "install is a table"),
    ],
)
def test_what_is_wrong_changes_nothing(
    words: tuple[str, ...], told: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert config(*words) == 2
    out, err = capsys.readouterr()
    assert told in err and out == "" and "plantedKey" not in err
    assert err.count("\n") == 2, "what happened, and what helps"
    assert file.read_text() == MINE


def test_each_value_is_told_with_where_it_is_from(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GDL_HOURS", "3")
    assert config("get", "--json") == 0
    rows = {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows["hours"] == {"name": "hours", "value": 3, "from": "GDL_HOURS"}
    assert rows["backend"]["from"] == f"{file}, line 2"
    assert rows["max_attempts"] == {"name": "max_attempts", "value": 3, "from": "default"}
    assert config("get", "install.version") == 0
    assert capsys.readouterr().out == "0.32.0\n"
    assert config("get", "install") == 0
    assert "install.installer" in (out := capsys.readouterr().out) and "hours" not in out
    assert config("set", "hours", "2") == 0
    assert "GDL_HOURS in the environment takes precedence" in capsys.readouterr().err


def test_no_secret_is_ever_printed(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("plantedKey\n"))
    assert config("set", "vastai.key") == 0
    assert tomllib.loads(file.read_text())["vastai"]["key"] == "plantedKey"
    address = '["https://me:plantedPass@index.example/simple"]'
    assert config("set", "install.extra_index_url", address) == 0
    assert config("get", "vastai.key") == 0
    assert config("get") == 0 and config("get", "--json") == 0
    out, err = capsys.readouterr()
    assert "(set, not shown)" in out and "https://***@index.example" in out
    assert "planted" not in out + err


@pytest.mark.parametrize(("mode", "then"), [(0o644, 0o600), (0o440, 0o400)])
def test_a_file_that_gets_a_secret_is_for_its_owner_alone(
    mode: int, then: int, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.chmod(mode)
    assert config("set", "hours", "2") == 0
    assert stat.S_IMODE(file.stat().st_mode) == mode, "as its owner left it"
    monkeypatch.setattr("sys.stdin", io.StringIO("plantedKey\n"))
    assert config("set", "vastai.key") == 0
    assert stat.S_IMODE(file.stat().st_mode) == then


def test_no_secret_among_the_arguments_of_the_server_is_printed(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--api-key", "planted1", "planted2", "--tokenizer", "mine", "--hf_token=planted3"]
    file.write_text(f"[engine]\nargs = {json.dumps(words)}\n")
    hidden = "(set, not shown)"
    told = ["--api-key", hidden, hidden, "--tokenizer", "mine", f"--hf_token={hidden}"]
    assert config("get", "engine.args") == 0
    assert json.loads(capsys.readouterr().out) == told
    assert config("get", "engine.args", "--json") == 0
    assert json.loads(capsys.readouterr().out)["value"] == told
    assert config("get") == 0 and config("get", "--json") == 0
    assert "planted" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("plantedKey\nb\n", "more than one line for vastai.key"),
        ("planted\x1b[2JKey\n", "unprintable characters"),
        ("planted\0Key", "unprintable characters"),
    ],
)
def test_a_secret_is_one_line_of_what_can_be_read(
    given: str,
    told: str,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    assert config("set", "vastai.key") == 2
    err = capsys.readouterr().err
    assert told in err and "planted" not in err and file.read_text() == MINE


def test_what_is_removed_is_told_and_what_was_not_there(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert config("unset", "install.version") == 0
    assert f"install.version is removed from {file}" in capsys.readouterr().err
    left = file.read_text()
    assert config("unset", "install.version") == 0
    assert f"install.version was not set in {file}" in capsys.readouterr().err
    assert file.read_text() == left


def test_a_file_that_cannot_be_read_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(b"hours = 2\ntheme = '\xff'\n")
    for words in (("get", "hours"), ("set", "hours", "3"), ("unset", "hours")):
        assert config(*words) == 2
        assert f"{file}, line 2: not UTF-8\nhint: save it as UTF-8" in capsys.readouterr().err
    file.unlink()
    file.mkdir()
    for words in (("get", "hours"), ("set", "hours", "3"), ("unset", "hours")):
        assert config(*words) == 2
        assert f"{file} is a directory\nhint: move it" in capsys.readouterr().err


@pytest.mark.parametrize("before", ["", 'offers.deploy = "x"', '"offers.deploy" = "x"'])
def test_keys_are_named_as_they_are_listed(
    before: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(f'[keys]\napp.chat = "c"\n{before}\n')
    assert config("set", "keys.offers.deploy", "d") == 0
    assert config("get", "keys") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"app.chat": "c", "offers.deploy": "d"}
    assert config("get", "keys.offers.deploy", "--json") == 0
    assert json.loads(capsys.readouterr().out)["from"] == f"{file}, line 3"
    assert config("unset", "keys.offers.deploy") == 0
    assert config("get", "keys") == 0
    assert json.loads(capsys.readouterr().out) == {"app.chat": "c"}


def test_what_is_written_in_one_line_is_removed(file: Path) -> None:
    file.write_text('hours = 2\ninstall.version = "0.32.0"\n')
    assert config("unset", "install.version") == 0
    assert file.read_text() == "hours = 2\n"


def test_line_ends_stay(file: Path) -> None:
    file.write_bytes(MINE.replace("\n", "\r\n").encode())
    assert config("set", "max_price", "0.5") == 0 and config("set", "install.python", "3.12") == 0
    text = file.read_bytes()
    assert text.count(b"\r\n") == text.count(b"\n") == MINE.count("\n") + 2


def test_a_file_is_made_where_there_is_none_and_for_its_owner_alone(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.unlink()
    file.parent.rmdir()
    assert config("path") == 0
    out, err = capsys.readouterr()
    assert out == f"{file}\n" and "does not exist yet" in err
    assert config("set", "max_price", "0.5") == 0
    assert file.read_text() == "max_price = 0.5\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_an_editor_made_counts_once_it_can_be_read(tmp_path: Path, start: Start) -> None:
    editor = tmp_path / "editor"
    editor.write_text(
        '#!/bin/sh\nif [ -e "$0.again" ]; then echo "hours = 2" > "$1"; '
        'else echo "hour = 2" > "$1"; touch "$0.again"; fi\n'
    )
    editor.chmod(0o700)
    editing = start("destroy", "config", "edit", terminal=True, EDITOR=str(editor))
    editing.until("config.toml, line 1: there is no setting hour")
    editing.until("edit it again? [Y/n] ")
    editing.type("y\n")
    assert editing.end() == 0
    assert (tmp_path / "config" / "gdl-tui" / "config.toml").read_text() == "hours = 2\n"


def test_an_editor_that_cannot_be_read_is_told(start: Start) -> None:
    editing = start("destroy", "config", "edit", terminal=True, VISUAL="", EDITOR='"unclosed')
    editing.until("hint: close the quotes")
    assert "error: cannot read $EDITOR: No closing quotation" in editing.told
    assert editing.end() == 2
