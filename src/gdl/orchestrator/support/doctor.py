"""What `doctor` finds out: settings, data folder, journal, backend."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from gdl.backends.base import Backend
from gdl.domain.clock import now
from gdl.domain.errors import GdlError
from gdl.domain.findings import Finding
from gdl.domain.money import dollars
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.server_memory import track_record
from gdl.journal import memory
from gdl.journal.store import Journal
from gdl.orchestrator.leasing.balances import Balances
from gdl.orchestrator.leasing.markets import Markets
from gdl.orchestrator.leasing.orphans import summary_or_nothing
from gdl.orchestrator.leasing.release_proof import what_to_do
from gdl.orchestrator.notify.desktop import program
from gdl.orchestrator.notify.notifier import ways_of
from gdl.settings import Settings, default_config_file


async def examine(settings: Settings, markets: Markets, journal: Journal) -> list[Finding]:
    """All findings; never raises a GdlError."""
    findings = [_config(), await asyncio.to_thread(_data_dir, settings.data_dir)]
    findings.append(_token(settings))
    findings.append(_ssh())
    findings.append(await asyncio.to_thread(_tunnel, settings))
    left = [said for each in markets.all if (said := await summary_or_nothing(each.orphans))]
    findings.append(await _rented(journal))
    findings.extend(await _sizing(journal, simulated=markets.simulated))
    if left:
        hint = "`gdl-tui attach ID` or `gdl-tui destroy ID`"
        findings.append(Finding("orphans", "warn", "; ".join(left), hint))
    for checked in await asyncio.gather(*(each.backend.check() for each in markets.all)):
        findings.extend(checked)
    findings.extend(await _balances(settings, markets.backends))
    findings.append(_notices(settings))
    return findings


async def _balances(settings: Settings, backends: Sequence[Backend]) -> list[Finding]:
    """What accounts have left, where that is told."""
    found = []
    for name, balance in (await Balances(backends, settings, now).all()).items():
        told = f"{dollars(balance.credit)} left"
        if balance.credit <= 0:
            what = "nothing can be rented there"
            found.append(
                Finding("balance", "warn", f"{name}: {told}: {what}", f"add credit at {name}")
            )
        else:
            found.append(Finding("balance", "ok", f"{name}: {told}"))
    return found


def _notices(settings: Settings) -> Finding:
    """Who is told of deployments. A webhook's address may hold a secret: only its host is shown."""
    wanted = settings.notify
    told = [way.host for way in ways_of(settings)]
    if wanted.desktop and program() is None:
        hint = "install notify-send (libnotify), or use notify.webhook"
        return Finding(
            "notices", "warn", "this computer has no program for desktop notifications", hint
        )
    detail = (
        f"to {' and '.join(told)}" if told else "nobody is notified: see notify in the settings"
    )
    return Finding("notices", "ok" if told else "info", detail)


def _config() -> Finding:
    path = default_config_file()
    if path.is_file():
        return Finding("configuration", "ok", str(path))
    return Finding("configuration", "info", f"none at {path}: the defaults apply")


def _data_dir(path: Path) -> Finding:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        free = shutil.disk_usage(path).free / 1e9
    except OSError as error:
        return Finding(
            "data folder", "fail", f"{path}: {error.strerror}", "set GDL_DATA_DIR elsewhere"
        )
    if not os.access(path, os.W_OK):
        return Finding("data folder", "fail", f"{path} is not writable", "set GDL_DATA_DIR")
    status = "ok" if free > 1 else "warn"
    return Finding("data folder", status, f"{path}, {free:.0f} GB free")


def _token(settings: Settings) -> Finding:
    if settings.hf_token is None:
        return Finding("HF token", "info", "not set: gated models cannot be downloaded")
    return Finding("HF token", "ok", "set")


def _ssh() -> Finding:
    config = Path.home() / ".ssh" / "config"
    return Finding("ssh", "info", f"{config} {'found' if config.is_file() else 'not there'}")


def _tunnel(settings: Settings) -> Finding:
    """What carries tunnels."""
    from gdl.ssh import openssh

    if settings.tunnel == "built-in":
        return Finding("tunnel", "info", "by gdl-tui's own connection, as set")
    if version := openssh.version():
        return Finding("tunnel", "ok", f"by this computer's ssh ({version})")
    status = "warn" if settings.tunnel == "openssh" else "info"
    told = "by gdl-tui's own connection: this computer has no ssh"
    return Finding("tunnel", status, told, "install OpenSSH's client: it is faster")


def _in_doubt(rental: Rental) -> str:
    name = rental.session_id or rental.offer_id
    return f"{name} ({rental.doubt})" if rental.doubt else name


async def _rented(journal: Journal) -> Finding:
    try:
        rentals = await journal.rentals()
    except GdlError as error:
        return Finding("journal", "fail", error.message, error.hint)
    billing = [r for r in rentals if r.billing in (Billing.ACTIVE, Billing.REQUESTED)]
    doubt = [r for r in rentals if r.billing is Billing.UNKNOWN]
    if doubt:
        names = ", ".join(_in_doubt(r) for r in doubt[:3])
        first = doubt[0]
        return Finding(
            "rented machines",
            "warn",
            f"{len(doubt)} may still be billing: {names}",
            what_to_do(first.session_id or first.offer_id, first.provider),
        )
    return Finding("rented machines", "ok", f"{len(billing)} according to the journal")


async def _sizing(journal: Journal, *, simulated: bool) -> list[Finding]:
    """How good the program's own sizing has been, once it has been put to the proof."""
    try:
        told, good = track_record(await memory.kept(journal, simulated=simulated))
    except GdlError:
        return []  # the journal is told of above
    if not told:
        return []
    hint = "request a little less context or concurrency than is said to fit"
    return [Finding("sizing", "ok" if good else "warn", told, "" if good else hint)]
