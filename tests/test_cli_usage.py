"""A command line that cannot be read, or means nothing, is told in two lines, and with `--json` as
one object: no part of it is ever ignored."""

from __future__ import annotations

import json

import pytest

from cli_support import SCENARIOS, Scripted, opener_of
from gdl.cli.app import NotForTheUi, asked_ui, run
from gdl.cli.runtime import Cli, open_orchestrator

pytestmark = pytest.mark.usefixtures("own_data")


@pytest.fixture
def scripted() -> Scripted:
    return Scripted(SCENARIOS["destroy"])


WRONG = (
    (("deplyo", "m"), "there is no command deplyo", "did you mean deploy or demo?"),
    (("status",), "there is no command status", "did you mean sessions? `gdl-tui -h`"),
    (("stop", "x"), "there is no command stop", "did you mean destroy?"),
    (("config", "run"), "there is no command run", "hint: `gdl-tui config -h`"),
    (("",), "there is no command (empty)", "`gdl-tui -h`"),
    (("offers", "--max-prise", "1"), "there is no option --max-prise", "did you mean --max-price?"),
    (("config", "nope"), "there is no command nope", "`gdl-tui config -h`"),
    (
        ("deploy", "m", "--hours", "13"),
        "--hours must be at most 12, not '13'",
        "`gdl-tui deploy -h`",
    ),
    (
        ("deploy", "m", "--max-price", "0"),
        "--max-price must be at least 0.0001, not '0'",
        "deploy -h",
    ),
    (("deploy", "m", "--max-price", "x"), "--max-price must be a number, not 'x'", "deploy -h"),
    (("deploy", "m", "--max-price", ""), "--max-price must be a number, not ''", "deploy -h"),
    (("deploy", "m", "--max-price", "nan"), "--max-price must be a number, not 'nan'", "deploy -h"),
    (("extend", "x", "1.5"), "HOURS must be a whole number, not '1.5'", "`gdl-tui extend -h`"),
    (("scale", "x", "1e9"), "N must be a whole number, not '1e9'", "`gdl-tui scale -h`"),
    (("offers", "--sort", "age"), "--sort: 'age' is not one of 'session', 'price'", "offers -h"),
    (("logs", "x", "-n", "-1"), "--lines / -n must be at least 0, not '-1'", "`gdl-tui logs -h`"),
    (("destroy",), "missing argument 'ID'", "`gdl-tui destroy -h`"),
    (("destroy", "a", "b"), "unexpected argument: b", "`gdl-tui destroy -h`"),
    (("deploy", "--max-price"), "--max-price needs a value", "`gdl-tui deploy -h`"),
    (("--backend",), "--backend needs a value", "`gdl-tui -h`"),
    (("deploy", "m", "--keep", "--destroy"), "--destroy and --keep exclude each other", "deploy"),
)


@pytest.mark.parametrize(("words", "message", "hint"), WRONG)
def test_what_cannot_be_read_is_told_in_two_lines(
    words: tuple[str, ...],
    message: str,
    hint: str,
    scripted: Scripted,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(words, opener=opener_of(scripted)) == 2
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert out == "" and first == f"error: {message}"
    assert second.startswith("hint: ") and hint in second
    assert scripted.calls == []


def test_a_program_reads_it_as_an_object(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(("offers", "--json", "--max-price", "x"), opener=opener_of(scripted)) == 2
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["type"] == "error" and told["kind"] == "usage"
    assert told["message"] == "--max-price must be a number, not 'x'"
    assert f"error: {told['message']}" in err
    # What another program is to be told is not ours.
    assert run(("ssh", "--", "x", "--", "ls", "--json"), opener=opener_of(scripted)) != 0
    assert capsys.readouterr().out == ""


def test_no_escape_sequence_is_told_back(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(("x\x1b[2J\ny",), opener=opener_of(scripted)) == 2
    assert run(("offers", "--gpus", "\x1b[31m"), opener=opener_of(scripted)) == 2
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err and len(err.splitlines()) == 4


def test_behind_the_first_frame_nothing_is_told_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """The terminal UI's short way reads the command line first, and whoever cannot is told by the
    usual way then."""
    with pytest.raises(NotForTheUi):
        asked_ui(Cli(open_orchestrator), ("demo", "--speed", "x"))
    assert capsys.readouterr() == ("", "")


EMPTY = (
    *(("destroy", "", "--yes"), ("extend", "", "1", "--yes"), ("attach", ""), ("logs", " ")),
    *(("ssh", ""), ("health", ""), ("chat", ""), ("tunnel", "", "--stop"), ("env", "")),
    *(("public", "", "--stop"), ("resume", ""), ("scale", "", "3"), ("bench", "")),
    *(("export", "", "--to", "toml"), ("bundle", ""), ("ledger", "")),
    *(("exclusions", "clear", ""), ("exclusions", "add", "provider", "")),
    *(("volumes", "delete", "", "--yes"), ("serve", "--address", "")),
    ("volumes", "make", "", "--size", "1", "--offer", "x", "--yes"),
    *(("deploy", "m", "--backend", ""), ("--backend", "", "deploy", "m")),
    ("deploy", "m", "--backend", "sandbox", "--scenario", ""),
    *(("offers", "--provider", ""), ("offers", "--gpu", " "), ("diagnose", "")),
    *(("deploy", "m", each, "") for each in ("--offer", "--engine-arg", "--exclude-provider")),
    *(("deploy", "m", each, "") for each in ("--webhook", "--volume", "--quantization")),
    ("scale", "fleet-1", "--engine-arg", ""),
    *(("offers", ""), ("watch", "", "--model", "m", "--rent", "--yes"), ("deploy", "")),
    *(("prices", "m", "--filter", " "), ("benchmarks", "--model", ""), ("benchmarks", "--gpu", "")),
    *(("bench", "--url", ""), ("bench", "--url", "http://127.0.0.1:9", "--model", "")),
    *(("models", "search", ""), ("plan", "m", "--gpu", ""), ("config", "get", "")),
)


@pytest.mark.parametrize("words", EMPTY)
def test_a_scripts_unset_variable_names_nothing_and_is_no_wish_for_another_thing(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    assert "empty" in capsys.readouterr().err.splitlines()[0]


def test_what_is_empty_is_named_without_its_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("models", "")) == 2
    assert "error: WORDS: it is empty" in capsys.readouterr().err


IGNORED = (
    (("deploy", "m", "--backend", "sandbox", "--identity", "/k"), "--identity is for machines"),
    (("scale", "--max-price", "2"), "whose flags?"),
    (("offers", "--backend", "sandbox", "price<nan"), "price takes a number, and 'nan' is not one"),
    (("watch", "--backend", "sandbox", "price<inf"), "price takes a number, and 'inf' is not one"),
    (("deploy", "m", "--backend", "sandbox", "--replicas", "0"), "at least one replica"),
    (("deploy", "m", "--volume-size", "5"), "--volume-size is about a volume: name it with"),
    (("offers", "--context", "4096"), "--context is about a model: name it with --model"),
    (("offers", "--text-only"), "--text-only is about a model"),
    (("watch", "4090", "--quantization", "fp8"), "--quantization is about a model"),
    (("watch", "4090", "--concurrency", "8"), "--concurrency is about a model"),
    (("deploy", "m", "--backend", "sandbox", "--replicas", "65"), "64 replicas at most"),
)


@pytest.mark.parametrize(("words", "told"), IGNORED)
def test_what_has_no_effect_is_no_option(
    words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    assert told in capsys.readouterr().err
