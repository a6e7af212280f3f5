"""Nothing is rented, extended or ended unasked: on a terminal the price is named, elsewhere the
command line has to say that it is wanted."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cli_process import Start, start
from cli_support import SCENARIOS, Scripted, offer, opener_of, session_row
from gdl.cli.app import run
from gdl.domain.session import SessionStatus
from gdl.orchestrator.api.volumes import VolumeList

pytestmark = pytest.mark.usefixtures("own_data")

__all__ = ["start"]

OFFERS = (offer("o-1", 0.35), offer("o-2", 0.4), offer("o-3", 0.52), offer("dear", 9.0))


def market(*, bills: bool = True, simulated: bool = False) -> Scripted:
    """One that is paid for, unless said otherwise."""
    rows, story = (session_row(),), SCENARIOS["destroy"]
    return Scripted(story, offered=OFFERS, rows=rows, bills=bills, simulated=simulated)


def play(scripted: Scripted, *words: str) -> int:
    return run(words, opener=opener_of(scripted))


DEPLOY = ("deploy", "smollm2-135m", "--destroy")


def test_a_script_must_say_that_money_may_be_spent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A limit that stands elsewhere says nothing about this command.
    monkeypatch.setenv("GDL_MAX_PRICE", "1")
    scripted = market()
    assert play(scripted, *DEPLOY) == 2
    assert "costs money, and there is no terminal to ask on" in (told := capsys.readouterr().err)
    assert "--yes" in told and "--max-price" in told
    assert play(scripted, *DEPLOY, "--json") == 2
    end = json.loads(capsys.readouterr().out)
    assert (end["type"], end["kind"]) == ("deployment_finished", "usage")
    assert "deploy" not in scripted.calls


@pytest.mark.parametrize("given", [("--yes",), ("--max-price", "0.5"), ("--max-spend", "2")])
def test_the_command_line_says_so(given: tuple[str, ...]) -> None:
    scripted = market()
    assert play(scripted, *DEPLOY, *given) == 0
    assert "deploy" in scripted.calls
    assert scripted.spec is not None
    assert scripted.spec.query.max_price == (0.5 if given[0] == "--max-price" else None)


@pytest.mark.parametrize(("bills", "simulated"), [(False, False), (True, True)])
def test_where_nothing_costs_nothing_is_asked(bills: bool, simulated: bool) -> None:
    scripted = market(bills=bills, simulated=simulated)
    assert play(scripted, *DEPLOY) == 0
    assert "deploy" in scripted.calls


def test_on_a_terminal_the_price_is_named_first(start: Start) -> None:
    asked = start("destroy", *DEPLOY, terminal=True, CLI_BILLS="1")
    asked.until("rent it? [y/N] ")
    assert "smollm2-135m on 1x RTX 4090 24 GB from vastai, Finland: $0.350/h" in asked.told
    assert "$0.35 for 1 hour" in asked.told
    assert "3 machines in all, none above $0.520/h" in asked.told
    asked.type("\n")
    asked.until("nothing was rented")
    assert (asked.end(), asked.calls) == (8, ["offers", "aclose"])


def test_what_was_typed_before_the_question_is_no_answer(start: Start) -> None:
    asked = start("destroy", *DEPLOY, terminal=True, CLI_BILLS="1")
    asked.type("y\n")
    asked.until("[y/N]")
    asked.type("n\n")
    asked.end()
    assert "deploy" not in asked.calls


def test_what_was_named_is_what_may_be_rented(start: Start) -> None:
    asked = start("destroy", *DEPLOY, "--max-price", "0.45", terminal=True, CLI_BILLS="1")
    asked.until("rent it? [y/N] ")
    assert "none above $0.400/h" in asked.told
    asked.type("y\n")
    asked.until("released: smollm2")
    assert asked.end() == 0
    assert asked.calls == ["offers", "deploy", "aclose"]


def test_a_dry_run_shows_plan_price_and_offers_and_rents_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scripted = market()
    assert (
        play(
            scripted,
            *DEPLOY,
            "--dry-run",
            "--max-attempts",
            "2",
            "--max-price",
            "0.6",
            "--idle",
            "30",
        )
        == 0
    )
    out, err = capsys.readouterr()
    assert [line.split()[-1] for line in out.splitlines()] == ["OFFER", "o-1", "o-2"]
    assert "$0.35 for 1 hour" in err and "2 offers in this order" in err and "1 more suit" in err
    assert "none above $0.600/h" in err and "nothing was rented" in err
    assert ", no guard on all of these machines: nothing ends after 30 min idle" in err
    assert play(scripted, "--read-only", *DEPLOY, "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["type"], plan["suitable"], plan["hours"]) == ("plan", 4, 1)
    assert [each["id"] for each in plan["offers"]] == ["o-1", "o-2", "o-3"]
    assert "deploy" not in scripted.calls


BY_ITSELF = frozenset({"vastai"})
BACKENDS: dict[str, dict[str, frozenset[str]]] = {
    "reserves hours": {},
    "until released": {"open_ended": BY_ITSELF},
    "guarded": {"open_ended": BY_ITSELF, "guarded": BY_ITSELF},
}


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        ((), "reserves hours", "until it is released or its reserved time is over"),
        ((), "until released", "until it is released"),
        ((), "guarded", "until it is released"),
        (("--idle", "30"), "until released", "until it is released"),
        (("--idle", "30"), "guarded", "until it is released or its guard ends it (30 min idle)"),
        (("--max-spend", "2"), "until released", "it ends when $2.00 is spent, if not before"),
        (("--max-spend", "2", "--keep"), "guarded", "it ends when $2.00 is spent, if not before"),
        (("--max-spend", "2", "--keep"), "reserves hours", "it ends when $2.00 is spent, if"),
        (("--max-spend", "2", "--keep"), "until released", "nothing ends it at $2.00 once this"),
    ],
)
def test_what_ends_a_machine_is_what_does_so_there(
    words: tuple[str, ...], kind: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted = market()
    scripted.offered = tuple(replace(each, backend="vastai") for each in OFFERS)
    for name, value in BACKENDS[kind].items():
        setattr(scripted, name, value)
    assert play(scripted, "deploy", "smollm2-135m", *words, "--dry-run") == 0
    lines = capsys.readouterr().err.splitlines()
    line = next(line.strip() for line in lines if "every hour" in line or "is spent" in line)
    assert said in line and (said != "until it is released" or line.endswith(said))
    limits = next(line for line in lines if line.startswith("limits"))
    ends = ", ends after 30 min idle" in limits
    assert ends == (kind == "guarded" and "--idle" in words)


def test_a_dry_run_of_a_fleet_tells_what_all_of_it_costs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scripted, dry = market(), (*DEPLOY, "--dry-run", "--replicas")
    assert play(scripted, *dry, "2") == 0
    err = capsys.readouterr().err
    assert "2 replicas, each on a machine of its own" in err
    assert "about $0.750/h together; limits are for all" in err
    assert play(scripted, *dry, "2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["replicas"] == 2
    assert play(scripted, *dry, "0") == 2
    assert "a fleet has at least one replica" in capsys.readouterr().err


def test_more_hours_are_asked_for_with_their_price(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted = market()
    assert play(scripted, "extend", "sess-1", "2") == 2
    assert (
        "2 hours more of sess-1 cost money, and there is no terminal to ask on"
        in capsys.readouterr().err
    )
    assert scripted.calls == ["sessions", "aclose"]
    assert play(scripted, "extend", "sess-1", "2", "--yes") == 0
    assert "extend sess-1 2" in scripted.calls
    asked = start("destroy", "extend", "sess-1", "2", terminal=True, CLI_BILLS="1")
    asked.until("extend sess-1: 2 hours more at $0.400/h = $0.80? [y/N] ")
    asked.type("y\n")
    assert (asked.end(), asked.calls) == (0, ["sessions", "extend sess-1 2", "aclose"])


@pytest.mark.parametrize("of", [None, "fleet-1"])
def test_who_destroys_a_replica_is_told_that_its_fleet_rents_another(
    of: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def ask(question: str) -> str:
        return "n"

    monkeypatch.setattr("gdl.cli.consent.at_terminal", lambda: True)
    monkeypatch.setattr("gdl.cli.prompt.ask", ask)
    scripted = market()
    scripted.rows = (replace(session_row(), fleet=of),)
    assert play(scripted, "destroy", "sess-1") == 8
    told = capsys.readouterr().err
    assert ("`gdl-tui scale fleet-1 N` makes that smaller" in told) == (of is not None)


@pytest.mark.parametrize("more", [(), ("--seen-gone",), ("--json",)])
def test_a_script_must_say_that_a_machine_may_go(
    more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    scripted = market()
    assert play(scripted, "destroy", "sess-1", *more) == 2
    assert "cannot be undone, and there is no terminal to ask on" in (
        told := capsys.readouterr().err
    )
    assert "pass --yes" in told
    assert scripted.calls == ["aclose"]
    assert play(scripted, "destroy", "sess-1", "--yes", *more) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("destroy", "nope"), "error: no session nope"),
        (("destroy", "nope", "--seen-gone"), "error: no session nope"),
        (("extend", "nope", "2"), "error: no session nope"),
        (("volumes", "delete", "nope"), "error: no volume nope"),
        (("volumes", "make", "x", "--size", "5", "--offer", "nope"), "offer nope is not listed"),
    ],
)
def test_nothing_is_asked_about_what_there_is_not(
    start: Start, words: tuple[str, ...], told: str
) -> None:
    asked = start("destroy", *words, terminal=True, CLI_BILLS="1")
    asked.until(told)
    assert asked.end() == 2
    assert "[y/N]" not in asked.told
    assert not [call for call in asked.calls if words[0] in call and call != "sessions"]


def test_volumes_are_neither_made_nor_deleted_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    scripted = market()
    make = ("volumes", "make", "cache", "--size", "50", "--offer", "o-1")
    assert play(scripted, *make) == 2
    assert "a volume costs money" in capsys.readouterr().err
    assert play(scripted, "volumes", "delete", "cache") == 2
    assert "what is on cache is lost then" in capsys.readouterr().err
    assert play(scripted, *DEPLOY, "--volume", "new", "--volume-size", "50") == 2
    assert scripted.calls == ["aclose"] * 3


@pytest.mark.parametrize(
    "words",
    [(), ("make", "x", "--size", "5", "--offer", "y"), ("delete", "x"), ("delete", "x", "--yes")],
)
def test_a_backend_without_volumes_is_named_before_anything_is_asked(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(("volumes", *words, "--backend", "local")) == 2
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == (
        "",
        ["error: the local backend has no volumes", "hint: use --backend vastai or runpod"],
    )


def test_options_before_a_subcommand_count_or_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(("volumes", "--backend", "local", "delete", "x")) == 2
    assert "the local backend has no volumes" in capsys.readouterr().err
    for words in (("volumes", "--json", "delete", "x"), ("config", "--json", "path")):
        assert run(words) == 2
        assert "put it behind: `gdl-tui" in capsys.readouterr().err


def test_no_volumes_are_said_only_where_somebody_has_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scripted = market()
    assert play(scripted, "volumes") == 0
    assert "no volumes" in capsys.readouterr().err
    scripted.kept_volumes = VolumeList(silent={"vastai": "refused"})
    assert play(scripted, "volumes") == 7
    told = capsys.readouterr().err
    assert "vastai does not list its volumes: refused" in told and "no volumes" not in told


def test_a_session_that_is_over_gets_no_more_hours(capsys: pytest.CaptureFixture[str]) -> None:
    row = session_row()
    over = replace(row, session=replace(row.session, status=SessionStatus.STOPPED))
    scripted = Scripted(SCENARIOS["destroy"], rows=(over,), bills=True)
    assert play(scripted, "extend", "sess-1", "2") == 2
    assert "error: session sess-1 is over" in capsys.readouterr().err
    assert scripted.calls == ["sessions", "aclose"]


def test_what_was_not_measured_is_said_for_what_was_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDL_BACKEND", "local")
    for words, told in ((("--model", "nope"), "that model or GPU"), ((), "measured yet")):
        assert run(("benchmarks", *words)) == 0
        out, err = capsys.readouterr()
        assert (out, told in err) == ("", True)
