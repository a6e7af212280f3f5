"""Settings that are named wrong: nothing is ignored in silence, and what was meant is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdl import settings
from gdl.cli.app import run
from gdl.domain.errors import UsageError


@pytest.fixture(autouse=True)
def _no_other_file(monkeypatch: pytest.MonkeyPatch) -> None:
    # `load` remembers the file for whoever reads the settings next.
    monkeypatch.setattr(settings, "_config_file", settings._config_file)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("GDL_MAXPRICE", "GDL_MAX_PRICE"),
        ("GDL_MAX_SPENT", "GDL_MAX_SPEND"),
        ("gdl_max_prise", "GDL_MAX_PRICE"),
        ("GDL_PER_DAY", "GDL_SPENDING__PER_DAY"),
        ("GDL_INSTALL_VLLM_VERSION", "GDL_INSTALL__VERSION"),
        ("GDL_ENGINE_PORT", "GDL_ENGINE__PORT"),
        ("GDL_ENGINE__PROT", "GDL_ENGINE__PORT"),
        ("GDL_HOSTS__0__HOST", "GDL_HOSTS is given in one piece"),
        ("GDL_QQQQ", "max_price"),
    ],
)
def test_a_mistyped_variable_is_an_error_that_names_what_was_meant(
    variable: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(UsageError, match=f"{variable} in the environment") as told:
        settings.load(data_dir=tmp_path)
    assert meant in told.value.hint


@pytest.mark.parametrize(
    ("text", "where", "meant"),
    [
        ("maxprice = 1\n", "line 1: there is no setting maxprice", "max_price?"),
        ("hours = 2\n\n[engine]\nprot = 1\n", "line 4: there is no setting engine.prot", "port?"),
        ("[instal]\nversion = '1'\n", "line 1: there is no setting instal", "install?"),
        ("[engine]\nversion = '1'\n", "line 2: there is no setting", "install.version?"),
        ("[engine]\nqqqq = '1'\n", "line 2: there is no setting", "there are: name, port"),
        ("[[hosts]]\nhost = 'a'\n\n[[hosts]]\ngpuu = ''\nhost = 'b'\n", "line 5", "hosts.1.gpu?"),
        ("[engine]\nargs = [\n'a',\n]\nport = 'x'\n", "setting engine.port", "line 5"),
    ],
)
def test_the_file_is_told_with_the_line(text: str, where: str, meant: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    with pytest.raises(UsageError, match=where) as told:
        settings.load(config)
    assert meant in told.value.hint
    assert str(config) in told.value.message + told.value.hint


def test_a_wrong_value_is_told_with_the_variable_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.toml").write_text("max_price = 1\n")
    monkeypatch.setenv("GDL_MAX_PRICE", "cheap")
    with pytest.raises(UsageError, match="setting max_price") as told:
        settings.load(tmp_path / "config.toml")
    assert told.value.hint == "correct it in GDL_MAX_PRICE"
    assert "cheap" not in told.value.message


@pytest.mark.parametrize("line", ["max_price = inf", "max_spend = nan", "timeouts.rent = inf"])
def test_no_infinity_is_a_limit(line: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f"{line}\n")
    with pytest.raises(UsageError, match="finite number"):
        settings.load(tmp_path / "config.toml")


def test_what_is_ours_and_no_setting_is_let_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `deploy` and `env` print for a shell, and what a machine's programs are told."""
    for name in ("SESSION", "DEPLOYMENT", "JOB", "VOLUME", "INSTALL__VLLM_VERSION", "HOURS"):
        monkeypatch.setenv(f"GDL_{name}", "2")
    monkeypatch.setenv("GDL_ENGINE__ENV__VLLM_LOGGING_LEVEL", "DEBUG")
    monkeypatch.setenv("GDL_TIMEOUTS", '{"http": 7}')
    told = settings.load(data_dir=tmp_path)
    assert (told.install.version, told.hours, told.timeouts.http) == ("2", 2, 7)


def test_a_limit_that_is_not_in_force_rents_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GDL_MAXPRICE", "1")
    assert run(["offers"]) == 2
    assert "did you mean GDL_MAX_PRICE?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GDL_ENGINE__ARGS", '["--max-num-seqs"'),
        ("GDL_ENGINE__ENV", "{"),
        ("GDL_HOSTS", "gpu1"),
        ("GDL_ENGINE", "vllm"),
    ],
)
def test_a_list_that_is_no_json_is_told_with_its_variable(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("GDL_ENGINE__NAME", "vllm")  # in one of its tables, and no JSON
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=f"{variable} is not valid JSON") as caught:
        settings.load()
    assert "GDL_ENGINE__ARGS='[" in caught.value.hint


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("GDL_MAX_PRICE", "x", "setting max_price must be a number"),
        ("GDL_HOURS", "13", "setting hours must be at most 12"),
        ("GDL_READ_ONLY", "maybe", "setting read_only must be true or false"),
        ("GDL_TUNNEL", "x", "setting tunnel must be one of 'auto', 'openssh' or 'built-in'"),
        ("GDL_ENGINE__ARGS", "3", "setting engine.args must be a list"),
        # What its own check says is told as it is.
        ("GDL_NOTIFY__WEBHOOK", "x", "setting notify.webhook: must look like http://host:port"),
    ],
)
def test_a_wrong_value_is_told_by_what_it_must_be(
    variable: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError) as caught:
        settings.load()
    assert caught.value.message == told
