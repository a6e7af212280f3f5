"""The command that opens a shell on a machine, and the terminal that is given to it."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from gdl.backends.local.backend import LocalBackend
from gdl.domain.errors import MachineError, UsageError
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.session import RentRequest
from gdl.orchestrator.sessions import shell
from gdl.settings import Settings
from real_sshd import real_sshd
from tui_pilot import SIZE, screen_text, show, until
from tui_support import START, make_app, renting, to_installing

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0000000000000000000000000000000000000000000"


def rental(folder: Path) -> Rental:
    pin = folder / "100% mine" / "s-1.host"
    pin.parent.mkdir()
    pin.write_text(KEY + "\n")
    return Rental(
        "i", "d-1", 1, "shopper", "vastai", "o", "me", 0.1, START, Billing.ACTIVE, "s-1",
        host="-oProxyCommand=x", port=2222, user="root", key_file=str(folder / "s-1.key"),
        host_key_file=str(pin),
    )  # fmt: skip


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: "/usr/bin/ssh")


def test_the_command_names_files_and_pins_the_host_key(tmp_path: Path, found: None) -> None:
    words = shell.argv(rental(tmp_path))
    assert words[0] == "/usr/bin/ssh"
    assert words[-2:] == ("--", "-oProxyCommand=x"), "a hostile name is never an option"
    options = {words[n + 1] for n, word in enumerate(words) if word == "-o"}
    assert {"StrictHostKeyChecking=yes", "IdentitiesOnly=yes"} <= options
    (known,) = [o for o in options if o.startswith("UserKnownHostsFile=")]
    assert known.endswith('100%% mine/s-1.host.known_hosts"')
    written = tmp_path / "100% mine" / "s-1.host.known_hosts"
    assert written.read_text() == f"gdl-tui-machine {KEY}\n"
    assert written.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_entered_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = rental(tmp_path)
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(UsageError, match="no ssh"):
        shell.argv(there)
    monkeypatch.setattr("shutil.which", lambda _name: "/usr/bin/ssh")
    with pytest.raises(MachineError, match="no machine"):
        shell.argv(replace(there, host=""))
    with pytest.raises(MachineError, match="not connected yet"):
        shell.argv(replace(there, host_key_file=str(tmp_path / "none")))


@pytest.mark.real
def test_openssh_enters_with_it_and_refuses_another_host_key(tmp_path: Path) -> None:
    with real_sshd(tmp_path / "sshd") as server:
        pin = tmp_path / "with blank" / "pin"
        pin.parent.mkdir()
        pin.write_bytes((tmp_path / "sshd" / "host_key.pub").read_bytes())
        there = replace(
            rental(tmp_path), host=server.host, port=server.port, user=server.user,
            key_file=str(server.identity), host_key_file=str(pin),
        )  # fmt: skip
        command = [*shell.argv(there), "echo entered"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.stdout.strip() == "entered"
        pin.write_bytes((tmp_path / "sshd" / "id.pub").read_bytes())
        command = [*shell.argv(there), "echo entered"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 255 and done.stdout == ""


@pytest.mark.real
async def test_a_machine_that_this_program_is_part_of_is_entered_in_a_later_one(
    tmp_path: Path,
) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    first = LocalBackend(settings)
    (offer,) = await first.offers(OfferQuery())
    rented = await first.rent(RentRequest(offer, "me", 1, "m"))
    await first.aclose()
    at, key, pin = rented.session.ssh, tmp_path / "key", tmp_path / "pin"
    assert at is not None and rented.private_key is not None
    key.write_text(rented.private_key.reveal())
    key.chmod(0o600)
    there = replace(
        rental(tmp_path), session_id=rented.session.id, host=at.host, port=at.port, user=at.user,
        key_file=str(key), host_key_file=str(pin),
    )  # fmt: skip
    later = LocalBackend(settings)
    assert later.traits.serves_ssh
    try:
        there = await shell.opened(later, there)
        host_key = await asyncssh.get_server_host_key(there.host, there.port)
        assert host_key is not None
        pin.write_bytes(host_key.export_public_key())
        command = [*shell.argv(there), "echo entered"]
        ssh = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        out, _ = await asyncio.wait_for(ssh.communicate(), 30)
        assert out.strip() == b"entered" and ssh.returncode == 0
    finally:
        await later.release(rented.session.id)
        await later.aclose()


async def test_s_hands_the_terminal_over_while_there_is_a_machine() -> None:
    app, orchestrator = make_app()
    given: list[tuple[str, ...]] = []

    async def hand_over(command: tuple[str, ...]) -> int:
        given.append(tuple(command))
        await asyncio.sleep(0)
        return 255

    app.hand_over = hand_over  # type: ignore[method-assign, assignment]
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await show(pilot, orchestrator, lambda o, i: o.push(i, 2, *renting()))
        await pilot.press("s")
        assert given == [], "there is nothing to enter yet"
        ident = await show(pilot, orchestrator, to_installing)
        await pilot.press("s")
        await until(pilot, lambda: given == [("true",)])
        assert ("shell", ident) in orchestrator.calls
        await until(pilot, lambda: "ssh could not connect" in screen_text(app))


async def test_where_there_is_no_terminal_it_says_so() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await show(pilot, orchestrator, to_installing)
        await pilot.press("s")
        await until(pilot, lambda: "a shell needs a terminal" in screen_text(app))
        assert not app.handed_over
