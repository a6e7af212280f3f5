"""Who is told of a deployment while away: what, in which words, and what happens when nobody
listens."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployment_support import last, of_type, told
from failover_support import fates, quick_orchestrator, spec
from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState, apply
from gdl.domain.errors import UsageError
from gdl.domain.notices import Notice, NoticeKind, notice_of
from gdl.domain.phase import Billing, Phase
from gdl.domain.serialization import recorded_to_plain
from gdl.domain.spec import DeploymentSpec
from gdl.orchestrator.notify import webhook as webhooks
from gdl.orchestrator.notify.desktop import Desktop
from gdl.orchestrator.notify.webhook import Webhook, body_of
from gdl.settings import load
from shopper_support import FakeShopper, default_offers

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
KEYS = {
    *("version", "event", "title", "id", "at", "text", "deployment_id", "model", "provider"),
    *("gpu", "gpu_count", "session_id", "price_per_hour", "cost", "billing", "ends_at"),
    *("new_price_per_hour", "balance"),
}
"""What receivers rely on."""


# -- what is told ----------------------------------------------------------------------------------


def told_of(*events: ev.Event) -> list[Notice]:
    """What a deployment tells that has rented a machine and then emits these."""
    before = (
        ev.DeploymentPlanned(DeploymentSpec("m", "vastai"), "h/m", "qwen3-8b"),
        ev.AttemptStarted(1, "o", "vast\x1b[2Jai", "RTX 4090", 1, 24.0, 0.4),
        ev.PhaseChanged(1, Phase.RENTING),
        ev.SessionRented(1, "s-1", "vastai", 0.4, since=NOW),
    )
    state, notices = DeploymentState("d-1"), []
    for seq, event in enumerate((*before, *events), 1):
        recorded = ev.Recorded("d-1", seq, NOW, event)
        state = apply(state, recorded)
        if (notice := notice_of(state, recorded)) is not None:
            notices.append(notice)
    return notices


def finished(outcome: str, billing: Billing, error: str = "") -> ev.DeploymentFinished:
    return ev.DeploymentFinished(outcome, None, "m", "s-1", billing, (), error=error or None)


@pytest.mark.parametrize(
    ("event", "kind", "words"),
    [
        (ev.ChoiceAwaited(1), "failed", "it waits for your choice"),
        (ev.StopAnnounced(1, NOW, "the limit is near"), "about_to_stop", "the limit is near"),
        (ev.PriceRaised(1, "s-1", 0.4, 0.6, NOW), "price_rise", "$0.600/h instead of $0.400/h"),
        (ev.BalanceLow("vastai", 0.2, 1800.0), "balance_low", "$0.20 left, for 30 minutes"),
        (finished("released", Billing.RELEASED), "stopped", "it was released"),
        (finished("released", Billing.RELEASED, "spent"), "stopped", "spent"),
        (finished("failed", Billing.UNKNOWN, "no SSH"), "failed", "no SSH; a machine may still"),
    ],
)
def test_what_is_worth_telling(event: ev.Event, kind: str, words: str) -> None:
    (notice,) = told_of(event)
    assert notice.kind == kind and words in notice.text
    assert (notice.id, notice.provider, notice.session_id) == ("d-1-5", "vastai", "s-1")
    body = body_of(notice)
    assert set(body) == KEYS and json.loads(json.dumps(body)) == body


@pytest.mark.parametrize(
    "event",
    [
        ev.Noted("warning", "many things are noted"),
        ev.AttemptFailed(1, Phase.RENTING, "ssh", "the next offer is taken by itself", ""),
        finished("serving", Billing.ACTIVE),
        replace(finished("cancelled", Billing.NONE), session_id=None),
    ],
)
def test_what_is_not(event: ev.Event) -> None:
    assert told_of(event) == []


# -- to whom ---------------------------------------------------------------------------------------


@dataclass
class Listener:
    """A webhook's server: answers what `answers` says, then 204."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    heard: list[dict[str, Any]] = field(default_factory=list)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("POST /hook?secret=hunter2 ")
        length = re.search(r"(?i)content-length: (\d+)", head)
        assert length is not None
        self.heard.append(json.loads(await reader.readexactly(int(length[1]))))
        status = self.answers.pop(0) if self.answers else 204
        answer = f"HTTP/1.1 {status} x\r\nLocation: {self.url}\r\nContent-Length: 0\r\n\r\n"
        writer.write(answer.encode())
        writer.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    one = Listener()
    async with await asyncio.start_server(one.take, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        one.url = f"http://127.0.0.1:{port}/hook?secret=hunter2"
        yield one


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_AGAIN_AFTER_S", 0.01)


async def test_a_deployment_tells_its_webhook_that_it_serves_and_stopped(
    tmp_path: Path, listener: Listener
) -> None:
    async with (
        FakeShopper(ssh=("203.0.113.9", 22, "root")) as shopper,
        quick_orchestrator(tmp_path, shopper.url, notify={"webhook": listener.url}) as orchestrator,
    ):
        events = await told(orchestrator, await orchestrator.deployments.deploy(spec()))
    assert last(events).outcome == "released"
    assert [body["event"] for body in listener.heard] == ["serving", "stopped"]
    assert all(set(body) == KEYS for body in listener.heard)
    assert "hunter2" not in repr(listener.heard) + repr(events)


async def test_one_that_fails_is_told_after_its_failover(
    tmp_path: Path, listener: Listener
) -> None:
    async with FakeShopper(ssh=("203.0.113.9", 22, "root")) as shopper:
        fate = fates(shopper, {offer.id: "crash" for offer in default_offers()})
        async with quick_orchestrator(
            tmp_path, shopper.url, fate=fate, notify={"webhook": listener.url}
        ) as orchestrator:
            await told(orchestrator, await orchestrator.deployments.deploy(spec(max_attempts=2)))
    (body,) = listener.heard
    assert body["event"] == "failed" and body["billing"] == "released"


@pytest.mark.parametrize(
    ("answers", "heard", "why"),
    [
        ([200], 1, ""),
        ([503], 2, ""),
        ([429, 500], 2, "it answered 500"),
        ([400], 1, "it answered 400"),
        ([302], 1, "redirects are not followed"),
    ],
)
async def test_it_is_sent_once_more_where_that_may_help(
    listener: Listener, answers: list[int], heard: int, why: str
) -> None:
    listener.answers = answers
    (notice,) = told_of(ev.ChoiceAwaited(1))
    said = await Webhook(listener.url).send(notice)
    assert (why in said) if why else said == ""
    assert len(listener.heard) == heard and len({body["id"] for body in listener.heard}) == 1
    assert "hunter2" not in said


async def test_a_webhook_that_never_answers_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "_LIMIT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/hunter2"
        async with (
            FakeShopper(ssh=("203.0.113.9", 22, "root")) as shopper,
            quick_orchestrator(
                tmp_path, shopper.url, pause=0.2, notify={"webhook": url}
            ) as orchestrator,
        ):
            events = await told(orchestrator, await orchestrator.deployments.deploy(spec()))
    assert last(events).outcome == "released"
    assert "hunter2" not in repr(events)


async def test_trouble_with_a_webhook_is_told_once(tmp_path: Path, listener: Listener) -> None:
    listener.answers = [400] * 9
    async with (
        FakeShopper(ssh=("203.0.113.9", 22, "root")) as shopper,
        quick_orchestrator(tmp_path, shopper.url, notify={"webhook": listener.url}) as orchestrator,
    ):
        ident = await orchestrator.deployments.deploy(spec(after="hold"))
        async for recorded in orchestrator.deployments.events(ident):
            noted = recorded.event
            if isinstance(noted, ev.Noted) and "was not notified" in noted.text:
                break
        await orchestrator.deployments.cancel(ident)
        events = await told(orchestrator, ident)
    trouble = [e.text for e in of_type(events, ev.Noted) if "was not notified" in e.text]
    assert trouble == ["127.0.0.1 was not notified: it answered 400; nothing else depends on it"]


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/x",
        "http://127.0.0.1.example.org/x",
        "ftp://127.0.0.1/x",
        "https://",
        "https://hooks.example.org/a b",
        "nonsense",
    ],
)
def test_an_address_that_is_not_safe_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError) as refused:
        load(data_dir=tmp_path, notify={"webhook": url})
    assert url not in str(refused.value)


@pytest.mark.parametrize(
    "flags",
    [
        {"webhook": "https://hooks.example.org/x"},
        {"webhook": "http://localhost:8123/x"},
        {"webhook": "http://[::1]:8123/x"},
        {"webhook": "http://10.0.0.2/x", "webhook_http": True},
    ],
)
def test_one_that_is_safe_or_allowed_is_taken_and_not_shown(
    tmp_path: Path, flags: dict[str, object]
) -> None:
    settings = load(data_dir=tmp_path, notify=flags)
    assert settings.notify.webhook is not None
    assert str(flags["webhook"]) not in repr(settings)


# -- the desktop -----------------------------------------------------------------------------------


def program(folder: Path, name: str, script: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def test_the_desktop_gets_the_texts_as_arguments(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    path = program(tmp_path, "notify-send", f'printf "%s\\n" "$@" > {heard}')
    (notice,) = told_of(ev.StopAnnounced(1, NOW, "<b>$(reboot)</b> & -u low"))
    assert await Desktop(path).send(notice) == ""
    assert heard.read_text().splitlines() == [
        "--app-name=gdl-tui",
        "--urgency=critical",
        "--",
        "qwen3-8b: about to stop",
        "&lt;b>$(reboot)&lt;/b> &amp; -u low",
    ]
    words = Desktop(program(tmp_path, "osascript", "true")).argv(notice)
    assert words[-2:] == ["qwen3-8b: about to stop", notice.text]
    assert all(notice.text not in word for word in words[:-1])


@pytest.mark.parametrize(
    ("script", "why"), [("exit 3", "ended with 3"), ("exec sleep 60", "not end")]
)
async def test_a_desktop_that_fails_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    monkeypatch.setattr("gdl.orchestrator.notify.desktop._LIMIT_S", 0.3)
    (notice,) = told_of(ev.ChoiceAwaited(1))
    assert why in await Desktop(program(tmp_path, "notify-send", script)).send(notice)
    assert "cannot be run" in await Desktop(str(tmp_path / "none")).send(notice)


def test_every_kind_has_a_value_that_receivers_know() -> None:
    assert [kind.value for kind in NoticeKind] == [
        *("serving", "failed", "about_to_stop", "stopped", "price_rise", "balance_low"),
    ]


def test_as_json_an_event_keeps_when_it_happened() -> None:
    for event in (ev.StopAnnounced(1, NOW, "soon"), ev.PriceRaised(1, "s", 0.1, 0.2, NOW)):
        later = NOW + timedelta(hours=1)
        plain = recorded_to_plain(ev.Recorded("d", 1, later, event))
        assert plain["at"] == later.isoformat()
