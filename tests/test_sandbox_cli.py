"""The sandbox from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ENTRY = [sys.executable, "-m", "gdl"]


def environment(folder: Path, **more: str) -> dict[str, str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("GDL_", "XDG_"))}
    return {
        **plain,
        "HOME": str(folder),
        "GDL_DATA_DIR": str(folder / "data"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "COLUMNS": "120",
        **more,
    }


def gdl(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ENTRY, *arguments],
        capture_output=True,
        text=True,
        env=environment(folder, **more),
        timeout=100,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_offers_are_listed_and_said_to_be_simulated(tmp_path: Path) -> None:
    done = gdl(tmp_path, "offers", "--backend", "sandbox", "--scenario", "calm")
    assert done.returncode == 0
    assert done.stderr.count("simulated machines, nothing is rented") == 1
    assert "(simulated)" in done.stdout and "tensordock" in done.stdout


STALE_THEN_SSH = (
    *("deploy", "tinyllama", "--backend", "sandbox"),
    *("--scenario", "stale-then-ssh-timeout", "--destroy", "--json"),
)


def test_stale_then_ssh_timeout_ends_at_another_provider(tmp_path: Path) -> None:
    done = gdl(tmp_path, *STALE_THEN_SSH, "--bench", GDL_SANDBOX__SPEED="50")
    assert done.returncode == 0, done.stderr
    end = json.loads(done.stdout.splitlines()[-1])
    assert end["type"] == "deployment_finished" and end["billing"] == "released"
    attempts = end["attempts"]
    assert len({a["offer_id"] for a in attempts}) == 3
    assert [a["provider"] for a in attempts] == ["vastai", "vastai", "tensordock"]
    assert [a["ended"] for a in attempts] == ["failed", "failed", "released"]
    assert "no longer available" in attempts[0]["reason"]
    assert "the machine was not ready within" in attempts[1]["reason"]
    assert end["benchmark"]["completed"] == 8
    assert list((tmp_path / "data" / "sandbox").glob("*")) == []


@pytest.mark.long
def test_what_failed_on_one_simulated_market_says_nothing_about_the_next(tmp_path: Path) -> None:
    for _ in range(2):
        done = gdl(tmp_path, *STALE_THEN_SSH, "--no-bench", GDL_SANDBOX__SPEED="50")
        assert done.returncode == 0, done.stderr
        end = json.loads(done.stdout.splitlines()[-1])
        assert [a["ended"] for a in end["attempts"]] == ["failed", "failed", "released"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("offers", "--backend", "shopper", "--scenario", "calm"), "not for the shopper backend"),
        (("deploy", "tinyllama", "--backend", "local", "--scenario", "calm"), "local backend"),
        (("offers", "--backend", "sandbox", "--scenario", "clam"), "unknown scenario clam"),
        (("sandbox", "--scenario", "/nowhere.toml"), "cannot read the scenario"),
        (("sandbox", "--speed", "0"), "--speed"),
        (("demo",), "needs a terminal"),
        (("deploy", "tinyllama", "--backend", "sandbox", "--keep"), "--keep has no effect here"),
    ],
)
def test_wrong_wishes(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = gdl(tmp_path, *arguments)
    assert done.returncode == 2 and words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_by_itself_is_used_by_others_and_ends_on_a_signal(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [*ENTRY, "sandbox", "--port", "0", "--scenario", "calm", "--speed", "50"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
    )
    try:
        assert running.stdout is not None
        name, _, url = running.stdout.readline().strip().partition("=")
        assert name == "GDL_SHOPPER_URL" and url.startswith("http://127.0.0.1:")
        listed = gdl(tmp_path, "offers", "--backend", "shopper", "--json", GDL_SHOPPER_URL=url)
        assert len(listed.stdout.splitlines()) == 60
        busy = gdl(tmp_path, "sandbox", "--port", url.rpartition(":")[2])
        assert busy.returncode == 7 and "cannot be started" in busy.stderr
    finally:
        os.kill(running.pid, signal.SIGINT)
        _, narrated = running.communicate(timeout=20)
    assert running.returncode == 0 and "simulated" in narrated
    assert list((tmp_path / "data" / "sandbox").glob("*")) == []
