"""A shell on the machine, with the user's own OpenSSH."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from gdl.backends.base import Backend
from gdl.domain.errors import MachineError, UsageError
from gdl.domain.rental import Rental
from gdl.orchestrator.leasing.rental_key import known_hosts_path
from gdl.whole_file import write_whole

_NAME = "gdl-tui-machine"
"""What the machine is called in the file of its host key, whatever its address."""


async def opened(backend: Backend, rental: Rental) -> Rental:
    """With the address of its SSH server in this program, which is started where it does not run.
    Raises MachineError when it cannot be, SessionGone, BackendError."""
    session = await backend.session(rental.session_id or "")
    if session.ssh is None:
        raise MachineError(session.error or "the machine cannot be connected to", "look at its log")
    at = session.ssh
    return replace(rental, host=at.host, port=at.port, user=at.user)


def argv(rental: Rental) -> tuple[str, ...]:
    """The command that opens a shell (`-t` is its second word): the machine's own key, and no host
    key but the pinned one. Writes that host key where OpenSSH can read it; slow enough for a
    thread.

    Raises UsageError without ssh on PATH, MachineError while the machine cannot be connected to.
    """
    program = shutil.which("ssh")
    if program is None:
        raise UsageError("there is no ssh on PATH", "install an OpenSSH client")
    if not rental.host and not rental.alias:
        raise MachineError("there is no machine yet", "wait until it is rented")
    options = [
        *_pinned(rental),
        "ConnectTimeout=20",
        "ServerAliveInterval=15",
        *(("IdentitiesOnly=yes",) if rental.key_file and not rental.agent_auth else ()),
    ]
    words = [program, "-t"]
    for option in options:
        words += ["-o", option]
    if rental.key_file:
        words += ["-i", rental.key_file]
    if rental.alias:
        return (*words, "--", rental.alias)
    return (*words, "-p", str(rental.port), "-l", rental.user, "--", rental.host)


def _pinned(rental: Rental) -> list[str]:
    """Options that hold the machine to the host key of its first connection."""
    pin = Path(rental.host_key_file) if rental.host_key_file else None
    if pin is None or not pin.is_file():
        raise MachineError("the machine is not connected yet", "wait until it is connected")
    known = known_hosts_path(pin)
    try:
        write_whole(known, f"{_NAME} {pin.read_text().strip()}\n")
    except OSError as error:
        raise UsageError(
            f"cannot write {known}: {error.strerror}", "check that the folder can be written"
        ) from None
    # OpenSSH splits this value at blanks and expands percent signs.
    quoted = str(known).replace("%", "%%")
    return [
        f'UserKnownHostsFile="{quoted}"',
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        f"HostKeyAlias={_NAME}",
        "UpdateHostKeys=no",
    ]
