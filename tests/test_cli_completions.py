"""What a shell completes: models, sessions, scenarios, fields and settings, without a network."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli_support import SCENARIOS, Scripted, offer, opener_of
from gdl.cli.app import run
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.journal.store import DeploymentRow, Journal

Complete = Callable[[str], list[str]]
NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GDL_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    file = tmp_path / "config" / "gdl-tui" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'data_dir = "{tmp_path / "a data"}"\n')


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Complete:
    def complete(line: str) -> list[str]:
        monkeypatch.setenv("_GDL_TUI_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        assert run([]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out.split()

    return complete


async def remember(folder: Path) -> None:
    folder.mkdir()
    journal = await Journal.open(folder / "journal.sqlite")
    await journal.add_deployment(DeploymentRow("20260506-070809-abcdef", NOW, "m", "x", "", 1))
    for number, released in ((1, NOW), (2, None)):
        await journal.save(
            Rental(
                intent_id=f"i-{number}",
                deployment_id="20260506-070809-abcdef",
                attempt=number,
                backend="x",
                provider="x",
                offer_id="o",
                consumer_id="me",
                price=0.1,
                requested_at=NOW + timedelta(minutes=number),
                billing=Billing.ACTIVE,
                session_id=f"session-{number}",
                released_at=released,
            )
        )
    await journal.aclose()


def test_values_are_completed(completed: Complete, tmp_path: Path) -> None:
    for command in ("deploy", "plan", "prices", "models show", "watch --model"):
        assert "qwen3-8b" in completed(f"gdl-tui {command} qwen3-"), command
    assert completed("gdl-tui config get max_p") == ["max_price"]
    assert completed("gdl-tui config set install.vers") == ["install.version"]
    assert completed("gdl-tui offers --scenario stale-then") == ["stale-then-ssh-timeout"]
    assert completed("gdl-tui watch rel") == ["rel"]
    assert "runpod" in completed("gdl-tui --backend ")
    assert completed("gdl-tui destroy ") == [], "there is no journal yet"
    asyncio.run(remember(tmp_path / "a data"))
    assert completed("gdl-tui destroy ") == ["session-2", "20260506-070809-abcdef"]
    assert completed("gdl-tui --backend x logs sess") == ["session-2", "session-1"]
    assert completed("gdl-tui bundle 2026") == ["20260506-070809-abcdef"]


def test_a_shell_waits_for_nothing_but_what_it_completes() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "gdl"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={
            **os.environ,
            "_GDL_TUI_COMPLETE": "complete_bash",
            "COMP_WORDS": "gdl-tui deploy qwen3-8",
            "COMP_CWORD": "2",
        },
    )
    assert "qwen3-8b" in done.stdout.split()
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    heavy = {"httpx", "asyncssh", "textual", "gdl.settings", "gdl.cli.commands.bench"}
    assert not heavy & imported


def test_a_plan_rents_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    scripted = Scripted(SCENARIOS["destroy"], offered=(offer("o-1", 0.35),), bills=True)
    assert run(("plan", "smollm2-135m"), opener=opener_of(scripted)) == 0
    out, err = capsys.readouterr()
    assert "o-1" in out and "nothing was rented" in err and "deploy" not in scripted.calls
    assert run(("plan", "qwen3-8b", "--gpu", "RTX 4090")) == 0
    assert "yes: " in capsys.readouterr().out
    assert run(("plan", "qwen3-8b", "--tp", "2")) == 2
    assert run(("plan", "--gpu", "H100")) == 2


@pytest.mark.parametrize(
    ("option", "named"),
    [
        (("--max-price", "1"), "--max-price"),
        (("--backend", "vastai"), "--backend"),
        (("--exclude-provider", "x"), "--exclude-provider"),
        (("--no-bench",), "--bench"),
        (("--interruptible", "--bid", "1"), "--interruptible, --bid"),
    ],
)
def test_a_plan_for_a_named_gpu_refuses_what_is_about_a_market(
    capsys: pytest.CaptureFixture[str], option: tuple[str, ...], named: str
) -> None:
    assert run(("plan", "qwen3-8b", "--gpu", "RTX 4090", *option)) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"error: {named} would have no effect with --gpu, which queries no market"
    assert len(told) == 2
