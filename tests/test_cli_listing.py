"""The subcommands that list, and those on one machine: text, JSON, exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cli_support import SCENARIOS, Scenario, Scripted, offer, opener_of, session_row
from gdl.cli.app import run
from gdl.domain.errors import BackendRefused, ReleaseUnconfirmed
from gdl.domain.findings import Finding
from gdl.domain.health import Check, CheckStatus
from gdl.domain.money import CostReport, SessionCost

pytestmark = pytest.mark.usefixtures("own_data")


@pytest.fixture
def scripted() -> Scripted:
    return Scripted(
        SCENARIOS["destroy"],
        offered=(
            offer("dear", 2.0),
            offer("evil\x1b[2J\u202e\n", 0.5, provider="tensordock", location="東京"),
            offer("cheap", 0.3),
        ),
        rows=(session_row(),),
        findings=(Finding("ssh", "ok", "OpenSSH 9"), Finding("uv", "warn", "none", "get uv")),
        checks=(Check("health", CheckStatus.PASSED, "HTTP 200", 12.0),),
    )


def gdl(scripted: Scripted, *arguments: str) -> int:
    return run(arguments, opener=opener_of(scripted))


def objects(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("deploy",), "MODEL"),
        (("deploy", "m", "--max-attempts", "0"), "--max-attempts"),
        (("deploy", "m", "--destroy", "--keep"), "--keep"),
        (("--backend", "nosuch", "offers"), "nosuch"),
        (("--backend", "local,runpd", "offers"), "did you mean runpod?"),
        (("--backend", "local,", "offers"), "unknown backend (empty)"),
        (("offers", "--max-price", "cheap"), "--max-price"),
        (("extend", "x", "0"), "HOURS"),
        (("nosuch",), "nosuch"),
        (("--config", "/no/such.toml", "models"), "no configuration file"),
        (("doctor", "--backend", "local", "--host", "me@there"), "--backend ssh"),
        (("--read-only", "deploy", "m"), "read-only"),
        (("--read-only", "destroy", "x"), "read-only"),
        (("--read-only", "extend", "x", "1"), "read-only"),
        (("--read-only", "bench", "x"), "read-only"),
    ],
)
def test_wrong_usage_is_2_and_opens_nothing(
    scripted: Scripted,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    word: str,
) -> None:
    assert gdl(scripted, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert word in err
    assert scripted.calls == []


def test_offers_are_aligned_and_the_excluded_last(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gdl(scripted, "offers", "--max-price", "1") == 0
    out, err = capsys.readouterr()
    head, *rows = out.splitlines()
    assert err == ""
    assert [row.split()[0] for row in rows] == ["$0.300/h", "$0.500/h", "$2.000/h"]
    assert rows[2].endswith("- over $1.000/h")
    assert head.index("MACHINE") == rows[0].index("1x RTX 4090 24 GB")
    # Two wide characters take four columns: the row is two characters shorter.
    assert head.index("OFFER") == rows[0].index("cheap") == rows[1].index("evil") + 2
    assert "\x1b" not in out and "\u202e" not in out


def test_offers_of_a_gpu_are_of_that_gpu_and_the_others_are_counted(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [offer(f"other-{n}", 0.1, gpu_name="Tesla P40") for n in range(3)]
    scripted.offered = (*scripted.offered, *others)
    assert gdl(scripted, "offers", "--gpu", "4090") == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4 and "P40" not in out
    assert err == "not listed: 3 offers (3 with another GPU); --all lists them\n"
    assert gdl(scripted, "offers", "--gpu", "4090", "--all") == 0
    out, err = capsys.readouterr()
    assert out.count("- not a 4090") == 3 and err == ""
    # A program is told of all of them, with the reason.
    assert gdl(scripted, "offers", "--gpu", "4090", "--json") == 0
    assert len(objects(capsys.readouterr().out)) == 6


def test_a_gpu_that_nobody_lists_is_told_so_without_a_table(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gdl(scripted, "offers", "--gpu", "H100") == 3
    out, err = capsys.readouterr()
    assert out == "" and "3 with another GPU" in err


@pytest.mark.parametrize("columns", [80, 120])
def test_lists_are_as_wide_as_the_terminal_at_most(
    scripted: Scripted,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
) -> None:
    monkeypatch.setattr("gdl.cli.output.columns_of", lambda _stream: columns)
    place = "Wilmington, Delaware, United States (simulated)"
    name = "tensordock-51b38f03-7df4-4652-9f0e-26a1c5d2e8f0"
    scripted.offered = (offer(name, 0.5, location=place), offer("b", 9.5, location=place))
    for arguments in (("offers", "--max-price", "1"), ("sessions",), ("doctor",), ("costs",)):
        gdl(scripted, *arguments)
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= columns, out


def test_costs_are_told_for_each_session_and_where_counts_differ_why(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    began = datetime(2026, 1, 1, 12, tzinfo=UTC)
    failed = SessionCost(
        "shopper", "vastai", "s-failed", "d-1", 0.052, began, began + timedelta(seconds=11), 0.00016
    )
    served = replace(
        failed,
        session_id="s-served",
        until=began + timedelta(minutes=12),
        cost=0.0273,
        charged=0.03,
    )
    scripted.cost_report = CostReport(
        0.052, session_count=1, hours_used=1.0, by_provider={"vastai": 0.052},
        sessions=(failed, served),
    )  # fmt: skip
    assert gdl(scripted, "costs") == 0
    out, err = capsys.readouterr()
    told = {line.split()[2]: line.split()[-2:] for line in out.splitlines() if "s-" in line}
    assert told == {"s-failed": ["s", "$0.00016"], "s-served": ["$0.027", "$0.030"]}
    assert "$0.027 in all, by our own clock" in out
    assert err.startswith("the backend counts $0.052, our own clock $0.027: some count whole hours")


def test_offers_as_json(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert gdl(scripted, "offers", "--exclude-provider", "tensordock", "--json") == 0
    cheap, dear, evil = objects(capsys.readouterr().out)
    assert (cheap["id"], cheap["excluded"], cheap["headroom_gb"]) == ("cheap", None, None)
    assert dear["price_per_hour"] == 2.0
    assert evil["excluded"] == "provider tensordock excluded"


def test_no_suitable_offer_is_3_in_the_domains_words(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gdl(scripted, "offers", "--max-price", "0.1", "--json") == 3
    out, err = capsys.readouterr()
    assert len(objects(out)) == 4
    assert objects(out)[-1]["kind"] == "no_suitable_offer"
    assert err.splitlines() == [
        "error: no suitable offers (3 excluded: 3 too expensive)",
        "hint: raise the price ceiling to $0.300/h",
    ]


def test_sessions_show_price_and_time_left(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gdl(scripted, "sessions") == 0
    row = capsys.readouterr().out.splitlines()[1]
    cells = ("sess-1", "running", "active", "1x RTX 4090", "$0.400/h", "0h47", "smollm2", "yes")
    for cell in cells:
        assert cell in row
    assert gdl(scripted, "sessions", "--json") == 0
    (answer,) = objects(capsys.readouterr().out)
    assert (answer["id"], answer["billing"], answer["ours"]) == ("sess-1", "active", True)


def test_several_backends_are_told_apart_and_one_that_is_away_is_said(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.backend_name = "shopper,vastai"
    scripted.away = {"vastai": "nothing answers at console.vast.ai"}
    for command, market in (("sessions", "shopper"), ("offers", "")):
        assert gdl(scripted, command) == 0
        out, err = capsys.readouterr()
        assert err == "warning: vastai is away: nothing answers at console.vast.ai\n"
        if market:
            heading, row = out.splitlines()
            assert (heading.split()[0], row.split()[0]) == ("MARKET", market)


def test_the_other_lists(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (("costs",), ("vastai", "$1.50 USD", "2 sessions, 3.00 hours")),
        (("doctor",), ("ok", "OpenSSH 9", "hint: get uv")),
        (("health", "x"), ("health", "passed", "12 ms")),
        (("bench", "x"), ("output tokens per second", "4 of 5 answers right")),
        (("extend", "x", "2"), ("x  until 2026-01-01T15:00+00:00",)),
        (("destroy", "x", "--yes"), ("sess-1  released",)),
    ):
        assert gdl(scripted, *arguments) == 0
        out = capsys.readouterr().out
        assert all(word in out for word in words), out
        assert gdl(scripted, *arguments, "--json") == 0
        assert objects(capsys.readouterr().out)


def test_findings_and_checks_that_fail_have_their_codes(scripted: Scripted) -> None:
    scripted.findings = (Finding("shopper", "fail", "nothing answers", "start it"),)
    scripted.checks = (Check("health", CheckStatus.FAILED, "HTTP 500"),)
    assert gdl(scripted, "doctor") == 7
    assert gdl(scripted, "health", "x") == 6


def test_a_degraded_check_is_told_and_no_failure(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "predicted 212 sequences of 4,096 tokens, vLLM says 208"
    scripted.checks = (
        Check("inference", CheckStatus.PASSED, "fine", 12.0),
        Check("tool_auto", CheckStatus.DEGRADED, "answered in words", 812.0),
        Check("memory", CheckStatus.PASSED, said),
    )
    assert gdl(scripted, "health", "x") == 0
    rows = capsys.readouterr().out.splitlines()
    assert "degraded" in rows[2] and "answered in words" in rows[2] and said in rows[3]
    assert gdl(scripted, "health", "x", "--json") == 0
    told = objects(capsys.readouterr().out)
    assert [one["status"] for one in told] == ["passed", "degraded", "passed"]
    # What must pass still decides.
    scripted.checks = (*scripted.checks, Check("process", CheckStatus.FAILED, "ended"))
    assert gdl(scripted, "health", "x") == 6


def test_errors_are_two_lines_and_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    error = BackendRefused("HTTP 500: \x1b]0;title\x07boom\nbang", "try later")
    assert gdl(Scripted(Scenario((), fails=error)), "destroy", "x", "-y", "--json") == 7
    out, err = capsys.readouterr()
    assert err.splitlines()[-2:] == ["error: HTTP 500: boom bang", "hint: try later"]
    assert objects(out)[-1]["kind"] == "backend_refused"


def test_a_release_that_nobody_confirms_is_9() -> None:
    error = ReleaseUnconfirmed("still there", "destroy it again")
    assert gdl(Scripted(Scenario((), fails=error)), "destroy", "x", "-y") == 9


def test_the_end_of_a_session_is_what_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    row = session_row()
    now = datetime.now(UTC)
    month = replace(row.session, expires_at=now + timedelta(days=28, hours=1))
    term = replace(row, session=month, hours_end=False)
    spent = replace(term, spent_at=now + timedelta(hours=3, minutes=20, seconds=30))
    scripted = Scripted(SCENARIOS["destroy"], rows=(term,))
    assert gdl(scripted, "sessions") == 0
    out, err = capsys.readouterr()
    assert "28 d" in out and "its host's own term, not that of --hours" in err
    # A limit of the user's that is reached before is the end.
    scripted = Scripted(SCENARIOS["destroy"], rows=(spent,))
    assert gdl(scripted, "sessions") == 0
    out, err = capsys.readouterr()
    assert "3h20" in out and "28 d" not in out and "term" not in err
    assert gdl(scripted, "sessions", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ends_at"] < told["expires_at"]
