"""An offer is waited for: told when it appears, or rented within the budget."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cli_process import LIMIT_S, Start, start
from cli_support import (
    ID,
    RELEASED,
    SCENARIOS,
    TO_SERVING,
    UP_TO_INSTALL,
    Scenario,
    Scripted,
    ScriptedDeployments,
    finished,
    offer,
    opener_of,
)
from gdl.cli.app import run
from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import BackendRefused, GdlError
from gdl.domain.offers import Offer, OfferQuery, RankedOffer
from gdl.domain.phase import Billing
from gdl.domain.ranking import rank
from gdl.domain.spec import DeploymentSpec
from gdl.orchestrator.api.model_views import SizedModel
from gdl.orchestrator.api.offer_watch import Times, Wanted, appearing
from gdl.presentation.offer_filter import parse
from waiting import block_until

pytestmark = pytest.mark.usefixtures("own_data")

__all__ = ["start"]

OFFERS = (
    offer("o-1", 0.35),
    offer("o-2", 0.28, gpu_name="RTX 3090"),
    offer("o-3", 0.29),
    offer("gone", 0.2, available=False),
)
SERVED = (*UP_TO_INSTALL, *TO_SERVING, *RELEASED, finished("released", Billing.RELEASED))
RENT = ("watch", "4090 price<0.30", "--rent", "--model", "smollm2-135m", "--destroy")


def market(*, bills: bool = True) -> Scripted:
    return Scripted(SCENARIOS["destroy"], offered=OFFERS, bills=bills)


def play(scripted: Scripted, *words: str) -> int:
    return run(words, opener=opener_of(scripted))


def test_what_fits_is_told_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert play(market(), "watch", "4090 price<0.4") == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "$0.290/h  1x RTX 4090 24 GB  vastai  Finland  99.0% reliable  offer o-3",
        "$0.350/h  1x RTX 4090 24 GB  vastai  Finland  99.0% reliable  offer o-1",
    ]
    assert "watching for offers that pass 4090 price<0.4, every 0:30" in err
    assert play(market(), "watch", "4090", "price<0.3", "--json") == 0
    watching, appeared = map(json.loads, capsys.readouterr().out.splitlines())
    assert (watching["type"], watching["filter"]) == ("watching", "4090 price<0.3")
    assert (appeared["type"], appeared["id"]) == ("offer_appeared", "o-3")


def test_nothing_in_time_is_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert play(market(), "watch", "gpu:5090", "--for", "0.1s") == 3
    out, err = capsys.readouterr()
    assert out == "" and "none of 4 offers matches the filter" in err
    assert "no matching offer appeared" in err
    assert play(market(), "watch", "--max-price", "0.1", "--for", "0.1s", "--json") == 3
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["type"], last["kind"]) == ("error", "no_suitable_offer")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("pri<0.3",), "did you mean price?"),
        (("4090", "--every", "0.2s"), "less than 1 s"),
        (("4090", "--for", "soon"), "write 30s, 10m, 2h or 1d"),
        (("4090", "--rent"), "name it with --model"),
        (("4090", "--rent", "--all", "--model", "m"), "--all only reports offers"),
        (RENT[1:], "there is no terminal to ask on"),
    ],
)
def test_what_cannot_be_watched_for_is_2(
    words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted = market()
    assert play(scripted, "watch", *words) == 2
    assert told in capsys.readouterr().err
    assert "deploy" not in scripted.calls


def test_of_what_nobody_knows_the_size_is_not_rented_unless_it_is_said_on_what(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `deploy` has it: an offer that appears is nobody's choice."""
    scripted = market()
    known = scripted.market.size

    def size(
        query: OfferQuery, gpu: str = "", *, check: DeploymentSpec | bool = False
    ) -> SizedModel:
        return replace(known(query, gpu, check=check), untold="its name tells no size")

    monkeypatch.setattr(scripted.market, "size", size)
    assert play(scripted, *RENT, "--yes") == 2
    assert (
        "the size of smollm2-135m is not known: its name tells no size" in capsys.readouterr().err
    )
    assert "deploy" not in scripted.calls
    assert play(scripted, *RENT[:2], "--model", "smollm2-135m") == 0
    assert "warning: its size is not known" in capsys.readouterr().err
    assert play(scripted, *RENT, "--yes", "--min-vram", "8") == 0
    assert "deploy" in scripted.calls


@pytest.mark.parametrize("least", ["--max-price", "--max-spend", "--idle", "--unseen", "--bid"])
def test_no_infinity_is_a_limit(least: str, capsys: pytest.CaptureFixture[str]) -> None:
    scripted = market()
    assert play(scripted, *RENT, "--yes", least, "inf") == 2
    assert "inf is not a valid amount" in capsys.readouterr().err and "deploy" not in scripted.calls


def test_a_read_only_run_may_watch_and_not_rent(capsys: pytest.CaptureFixture[str]) -> None:
    assert play(market(), "--read-only", "watch", "4090") == 0
    assert play(market(), "--read-only", *RENT, "--yes") == 2
    assert "read-only: nothing is rented" in capsys.readouterr().err


@pytest.mark.parametrize("given", [("--yes",), ("--max-price", "0.5"), ("--max-spend", "2")])
def test_what_appears_is_rented_and_nothing_dearer(given: tuple[str, ...]) -> None:
    scripted = market()
    assert play(scripted, *RENT, *given) == 0
    assert scripted.spec is not None and "deploy" in scripted.calls
    assert scripted.spec.query.offer_ids == ("o-3",)
    assert scripted.spec.query.max_price == 0.3
    assert scripted.spec.after == "destroy"


def test_on_a_terminal_it_is_asked_once_with_the_most_it_may_cost(start: Start) -> None:
    words = (*RENT, "--max-price", "0.36")
    asked = start("destroy", *words, terminal=True, CLI_BILLS="1")
    asked.until("rent it without asking again? [y/N] ")
    assert "smollm2-135m on the first machine that appears, for $0.300/h at most" in asked.told
    assert "$0.30 for 1 hour" in asked.told
    asked.type("n\n")
    asked.until("not watching")
    assert asked.end() == 8 and "deploy" not in asked.calls
    asked = start("destroy", *RENT[:1], "4090", *RENT[2:], terminal=True, CLI_BILLS="1")
    asked.until("set one in the filter, as in price<0.30, or with --max-price")
    assert asked.end() == 2


class OthersAreQuicker(ScriptedDeployments):
    """The first deployment finds all taken; what comes then is served."""

    async def deploy(self, spec: DeploymentSpec) -> str:
        first = "deploy" not in self._o.calls
        gone = (finished_empty(),)
        self._o.scenario = Scenario(gone if first else SERVED)
        self._o.offered = (*self._o.offered, offer("later", 0.25))
        self._o.history, self._o.state = [], DeploymentState(ID)
        return await super().deploy(spec)


def finished_empty() -> ev.Event:
    error = "no suitable offers: o-3 is not listed"
    return ev.DeploymentFinished(
        "failed", None, "smollm2", None, Billing.NONE, (), None, error, "", "no_suitable_offer"
    )


def test_where_others_were_quicker_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    scripted = market()
    scripted.deployments = OthersAreQuicker(scripted)
    assert play(scripted, *RENT, "--yes", "--every", "1s") == 0
    assert scripted.calls.count("deploy") == 2
    assert scripted.spec is not None and scripted.spec.query.offer_ids == ("later",)
    assert "others were quicker; still watching" in capsys.readouterr().err


def test_who_ends_it_while_others_are_quicker_is_obeyed(start: Start) -> None:
    words = ("--rent", "--model", "smollm2-135m", "--max-price", "1", "--every", "1s", "--yes")
    run = start("taken", "watch", "4090", *words)
    block_until(lambda: "deploy" in run.calls, limit_s=LIMIT_S)
    run.send(signal.SIGINT)
    assert run.end() == 4
    assert run.calls.count("deploy") == 1 and "still watching" not in run.told


class Rounds:
    """A market whose list, or answer, is another at each look, up to the last; with it time goes
    on."""

    def __init__(self, *rounds: Sequence[Offer] | GdlError) -> None:
        self._rounds = [*rounds]
        self.away: Mapping[str, str] = {}
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.paused: list[float] = []

    async def offers(self, query: OfferQuery) -> Sequence[RankedOffer]:
        answer = self._rounds.pop(0) if len(self._rounds) > 1 else self._rounds[0]
        if isinstance(answer, GdlError):
            raise answer
        return rank(answer, query)

    async def pause(self, seconds: float) -> None:
        self.paused.append(seconds)
        self.now += timedelta(seconds=seconds)

    async def seen(self, limit_s: float, line: str = "") -> tuple[list[list[str]], list[str]]:
        """The ids that were told at each time, and the sentences."""
        told: list[str] = []
        times = Times(lambda: self.now, self.pause, 30.0, limit_s)
        wanted = Wanted(OfferQuery(max_price=0.3), parse(line))
        async with aclosing(appearing(self, wanted, times, told.append)) as rounds:
            found = [[row.offer.id for row in rows] async for rows in rounds]
        return found, told


async def test_what_is_new_is_told_and_what_was_there_is_not() -> None:
    dear, one, two = offer("a", 0.5), offer("b", 0.29), offer("c", 0.28)
    rounds = Rounds([dear], [dear], [dear, one], [one, two], [two], [offer("a", 0.3), one])
    found, told = await rounds.seen(150.0)
    assert found == [["b"], ["c"], ["b", "a"]]
    assert told == ["matching the filter: 1 of 1 offer, 1 too expensive"]
    assert rounds.paused == [30.0] * 5


async def test_trouble_is_told_once_and_waited_for_as_long_as_it_wishes() -> None:
    fits = [offer("b", 0.29)]
    away = BackendRefused("no more searches today", "wait", retry_after=400.0)
    rounds = Rounds([], away, away, fits, fits)
    found, told = await rounds.seen(1000.0)
    assert found == [["b"]] and rounds.paused[:3] == [30.0, 400.0, 400.0]
    assert told[1:] == ["warning: no more searches today; still watching", "it answers again"]
    with pytest.raises(BackendRefused):
        await Rounds([], away, away).seen(60.0)
    with pytest.raises(BackendRefused):
        await Rounds(away).seen(60.0)


async def test_what_a_silent_market_lists_is_not_new_when_it_answers_again() -> None:
    ours, theirs = offer("a", 0.2), offer("b", 0.2, backend="runpod")
    rounds = Rounds([ours, theirs], [ours], [ours, theirs])
    rounds.away = {"runpod": "no answer"}
    found, told = await rounds.seen(60.0)
    assert found == [["a", "b"]]
    assert told == ["warning: runpod is away"]


@pytest.mark.parametrize(
    ("line", "most"),
    [
        ("4090 price<0.30", 0.3),
        ("price<=$0.2/h or price=0.1..0.4", 0.4),
        ("price<0.5 price<0.3", 0.3),
        ("4090 or price<0.3", None),
        ("price>0.3", None),
        ("!price<0.3", None),
        ("", None),
    ],
)
def test_the_filter_tells_the_most_that_is_paid(line: str, most: float | None) -> None:
    assert parse(line).most_price == most
