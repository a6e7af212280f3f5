"""Whether several machines reach each other, and by which addresses: shown by connecting."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import shlex
from collections.abc import Sequence

from gdl.domain.errors import DeployError
from gdl.domain.host import CommandResult
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.text import one_line
from gdl.orchestrator.machine.connection import Machine
from gdl.ssh.repeating import Repeating

_LISTENS_S = 40
_TRIES_S = 4
"""An address that nothing answers at is left after so long; a LAN answers in milliseconds."""
_HOLDS_S = 60.0
_NO_PYTHON = 97
_INTERPRETER = f"""\
for p in ./venv/bin/python python3 python; do
  if command -v "$p" >/dev/null 2>&1; then exec "$p" - "$@"; fi
done
exit {_NO_PYTHON}
"""
_LISTEN = f"""\
import os, socket, sys, time
token, others, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
ear = socket.socket()
ear.bind(("0.0.0.0", 0))
ear.listen(64)
told = os.path.join(folder, token)
with open(told + ".tmp", "w") as file:
    file.write(str(ear.getsockname()[1]))
os.rename(told + ".tmp", told)
end, heard = time.monotonic() + {_LISTENS_S}, set()
try:
    while len(heard) < others and time.monotonic() < end:
        ear.settimeout(max(end - time.monotonic(), 0.1))
        try:
            line, _ = ear.accept()
        except OSError:
            break
        with line:
            line.settimeout(2)
            try:
                said = line.recv(100).decode("ascii", "replace").split()
                if len(said) != 3 or said[0] != token:
                    continue
                # And the other way round: libraries connect to any of them.
                with socket.create_connection((line.getpeername()[0], int(said[2])), {_TRIES_S}):
                    line.sendall(token.encode())
                heard.add(said[1])
            except OSError:
                continue
finally:
    os.unlink(told)
"""
_ASK = f"""\
import socket, sys
token, number, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
ear = socket.socket()
ear.bind(("0.0.0.0", 0))
ear.listen(4)
said = "nothing was tried"
for address in sys.argv[4:]:
    try:
        with socket.create_connection((address, port), {_TRIES_S}) as line:
            line.settimeout(2 * {_TRIES_S})
            line.sendall(f"{{token}} {{number}} {{ear.getsockname()[1]}}".encode())
            if line.recv(100).decode("ascii", "replace") == token:
                print("reached", line.getpeername()[0], line.getsockname()[0])
                sys.exit(0)
            said = f"{{address}} answers and cannot connect to {{line.getsockname()[0]}}"
    except OSError as error:
        said = f"{{address}}: {{error.strerror or error}}"
print("failed", said)
"""
_ADDRESSES = """\
import fcntl, socket, struct
look_there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _, name in socket.if_nameindex():
    try:
        request = struct.pack("256s", name.encode()[:15])
        told = fcntl.ioctl(look_there.fileno(), 0x8915, request)  # SIOCGIFADDR
        print(name, socket.inet_ntoa(told[20:24]))
    except OSError:
        pass
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the others reach a machine: its IPv4 address, and the name of that interface, "" where
    the machine does not tell it."""

    address: str
    interface: str


class NoPython(Exception):
    """A machine has none so far: it can be asked after the installation."""


async def meet(machines: Sequence[Machine]) -> tuple[list[Place], int]:
    """Where each is reached, the first one being connected to by all others and connecting to them
    in turn; and a port of it that is free. Raises DeployError in one sentence where they do not
    reach each other, NoPython."""
    head, *others = machines
    token = secrets.token_hex(8)
    known = await asyncio.gather(*(_interfaces(machine) for machine in machines))
    for machine, interfaces in zip(machines, known, strict=True):
        _require_address(machine, interfaces)
    addresses = _worth_trying(head, known[0])
    folder = head.rental.work_dir
    listening = asyncio.create_task(_python(head, _LISTEN, token, str(len(others)), folder))
    try:
        port = await _port(head, token, listening)
        answers = await asyncio.gather(
            *(
                _python(other, _ASK, token, str(number), port, *addresses)
                for number, other in enumerate(others, 1)
            )
        )
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    places: list[Place] = []
    masters: set[str] = set()
    for other, interfaces, answer in zip(others, known[1:], answers, strict=True):
        words = answer.stdout.split()
        if words[:1] != ["reached"] or len(words) != 3:
            raise _unreached(head, other, addresses, answer)
        masters.add(words[1])
        places.append(Place(words[2], interfaces.get(words[2], "")))
    if len(masters) > 1:
        raise DeployError(
            f"rank 0 is reached at different addresses: {', '.join(sorted(masters))}",
            "connect all machines to one network",
        )
    master = masters.pop()
    if shared := await _sharing(head, others, token):
        raise DeployError(
            f"rank 0 and {shared.name} share one work folder, {folder}, on a shared disk",
            "set install.work_dir to a folder of each machine's own, such as /var/tmp/gdl-tui",
        )
    return [Place(master, known[0].get(master, "")), *places], int(port)


async def _sharing(head: Machine, others: Sequence[Machine], token: str) -> Machine | None:
    """The first of the others whose work folder is the same one on the same disk."""
    mark = f"{head.rental.work_dir}/shared-{token}"
    quoted = shlex.quote(mark)
    await Repeating(head.link).run(f": > {quoted}", timeout=_HOLDS_S)
    try:
        for other in others:
            there = f"{other.rental.work_dir}/shared-{token}"
            asked = f"test -e {shlex.quote(there)}"
            if (await Repeating(other.link).run(asked, timeout=_HOLDS_S)).ok:
                return other
        return None
    finally:
        await Repeating(head.link).run(f"rm -f {quoted}", timeout=_HOLDS_S)


async def _interfaces(machine: Machine) -> dict[str, str]:
    """Address -> name of the interface."""
    answer = await _python(machine, _ADDRESSES)
    rows = [line.split() for line in answer.stdout.splitlines()]
    return {row[1]: one_line(row[0], 15) for row in rows if len(row) == 2 and _is_ipv4(row[1])}


def _worth_trying(head: Machine, interfaces: dict[str, str]) -> list[str]:
    """The one that we reach it at first, where it is one of its own."""
    outside = [each for each in interfaces if not ipaddress.ip_address(each).is_loopback]
    # Several "machines" may be one, as in a test.
    own = outside or list(interfaces)
    return sorted(own, key=lambda each: each != head.rental.host)


def _require_address(machine: Machine, interfaces: dict[str, str]) -> None:
    """Raises DeployError for a machine that the others cannot reach by IPv4, as they would."""
    if all(ipaddress.ip_address(each).is_loopback for each in interfaces):
        host = machine.rental.host
        if _is_ipv4(host) and ipaddress.ip_address(host).is_loopback:
            return  # several "machines" are one
        raise DeployError(
            f"{machine.name or 'rank 0'} ({host}) has no IPv4 address at which the others reach it",
            "give the machines IPv4 addresses on one network; --host may name them as before",
        )


def _is_ipv4(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(text).version == 4
    return False


async def _port(head: Machine, token: str, listening: asyncio.Task[CommandResult]) -> str:
    """That the listener has taken, once it listens."""
    told = shlex.quote(f"{head.rental.work_dir}/{token}")
    wait = (
        f"n=0; while [ $n -lt 100 ]; do cat {told} 2>/dev/null && exit; sleep 0.1; n=$((n+1)); done"
    )
    look_there = asyncio.create_task(Repeating(head.link).run(wait, timeout=_HOLDS_S))
    try:
        await asyncio.wait({look_there, listening}, return_when=asyncio.FIRST_COMPLETED)
        port = look_there.result().stdout.strip() if look_there.done() else ""
    finally:
        look_there.cancel()
        await asyncio.gather(look_there, return_exceptions=True)
    if not port.isdecimal():
        said = listening.result().stderr if listening.done() else ""
        raise DeployError(
            f"rank 0 cannot listen on its network: {one_line(said, 200) or 'no port was told'}",
            "look at the machine's firewall and at the work folder's permissions",
        )
    return port


def _unreached(
    head: Machine, other: Machine, addresses: Sequence[str], answer: CommandResult
) -> DeployError:
    said = one_line(answer.stdout.removeprefix("failed") or answer.stderr, 200)
    where = ", ".join(addresses) or "no address beside loopback"
    return DeployError(
        f"{other.name} ({other.rental.host}) and rank 0 ({head.rental.host}; {where}) do not reach"
        f" each other: {said or 'no answer'}",
        "connect them to one network, and allow all TCP ports between them in its firewall",
    )


async def _python(machine: Machine, program: str, *arguments: str) -> CommandResult:
    """Run by whatever Python the machine has. Raises NoPython."""
    folder = shlex.quote(machine.rental.work_dir)
    words = shlex.join(["sh", "-c", _INTERPRETER, "sh", *arguments])
    command = f"mkdir -p {folder} && cd {folder} && {words}"
    answer = await machine.link.run(command, timeout=_HOLDS_S, input=program)
    if answer.exit_status == _NO_PYTHON:
        raise NoPython(machine.name)
    return answer
