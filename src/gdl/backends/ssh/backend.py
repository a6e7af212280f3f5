"""Machines one already has, reached over SSH. Nothing is rented and nothing is destroyed."""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import ipaddress
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from gdl.backends.ssh import ssh_config
from gdl.backends.ssh.identity import check_identity
from gdl.domain import clock
from gdl.domain.backend import BackendTraits
from gdl.domain.errors import OfferGone, SessionGone, UsageError
from gdl.domain.findings import Finding
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import CostReport
from gdl.domain.offers import NOT_ASKED, Offer, OfferQuery
from gdl.domain.session import RentAnswer, RentRequest, Session, SessionStatus, SshAddress
from gdl.domain.text import one_line
from gdl.settings import Settings, SshHost

_PROBE_S = 5.0
_NAMED = 8
"""Aliases, in a message."""
_NO_HOST_HINT = "use --host user@host:port, or list [[hosts]] in the configuration file"
_HOST_HINT = "write it as user@host:port, [2001:db8::1]:22, or an alias of ~/.ssh/config"
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,63}\$?")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]{0,252})")


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed host. alias: what ~/.ssh/config knows it by, or None. reach: (host, port) to
    knock at, where the configuration file says another name than the alias."""

    address: SshAddress
    alias: str | None
    reach: tuple[str, int]


def parse_host(text: str, config: Path | None = None) -> Target:
    """`[user@]host[:port]`, `[user@][ipv6][:port]`, an IPv6 address, or an alias.

    `config`: another file than ~/.ssh/config. Raises UsageError.
    """
    user, at, rest = text.strip().rpartition("@")
    if at and not _USER.fullmatch(user):
        raise UsageError(f"not a user name: {one_line(user, 60) or '(empty)'}", _HOST_HINT)
    host, port = _host_and_port(rest)
    entry = ssh_config.lookup(host, config)
    port = port or entry.port or 22
    address = SshAddress(host, port, user or entry.user or getpass.getuser())
    reach = (entry.hostname or host).replace("%h", host)
    return Target(address, host if entry.is_alias else None, (reach, port))


def _host_and_port(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, tail = text[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")) or not _is_ipv6(host):
            raise UsageError(f"malformed host {one_line(text, 80)}", _HOST_HINT)
        return host, _port(tail[1:]) if tail else None
    if _is_ipv6(text):
        return text, None
    host, colon, port = text.partition(":")
    if not _HOST.fullmatch(host):
        raise UsageError(f"malformed host {one_line(text, 80) or '(empty)'}", _HOST_HINT)
    return host, _port(port) if colon else None


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    raise UsageError(f"malformed port {one_line(text, 20) or '(empty)'}", "a port is 1 to 65535")


def session_id(address: SshAddress) -> str:
    """Stable: the same address always has the same session. While that one is in use, another
    on the same machine has a suffix."""
    return "ssh-" + hashlib.sha256(str(address).encode()).hexdigest()[:8]


def _first_id(ident: str) -> str:
    """The id without its suffix."""
    return "-".join(ident.split("-")[:2])


def hosts_of(text: str) -> tuple[SshHost, ...]:
    """The machines of a `host` option: one, or several with commas. Raises UsageError."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"malformed host {one_line(text, 80) or '(empty)'}", _HOST_HINT)
    return tuple(SshHost(host=name) for name in dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class _Host:
    target: Target
    listed: SshHost

    @property
    def gpus(self) -> tuple[str, int]:
        """Name and number of its GPUs as the configuration tells; it is asked when it is used."""
        name, count = self.listed.gpu, self.listed.gpu_count
        if count is not None:
            return name, count
        return (name, 1) if name else (NOT_ASKED, 0)

    @property
    def offer_id(self) -> str:
        return f"ssh:{self.target.address}"


class SshHostsBackend:
    """The `ssh` backend: the hosts of the command line, or the list in the settings.

    known: addresses of earlier sessions by id, for hosts that are not configured any more.
    Raises UsageError for a malformed host or an unusable `identity`.
    """

    name = "ssh"
    traits = BackendTraits(bills=False, cpu_allowed=True, ends_processes=False)
    service_url = ""

    def __init__(
        self,
        settings: Settings,
        *,
        host: str | None = None,
        identity: str | None = None,
        known: Mapping[str, SshAddress] | None = None,
        config: Path | None = None,
    ) -> None:
        listed = hosts_of(host) if host is not None else settings.hosts
        hosts = [_Host(parse_host(item.host, config), item) for item in listed]
        self._config = config
        self._identity = check_identity(identity) if identity else None
        self._hosts = {h.offer_id: h for h in hosts}
        self._by_session = {session_id(h.target.address): h for h in hosts}
        self._known = {i: a for i, a in (known or {}).items() if i.startswith("ssh-")}
        self._rented: dict[str, datetime] = {}
        self._stopped: set[str] = set()

    def config_alias(self, session_id: str) -> str | None:
        """The name by which ~/.ssh/config knows the machine, or None for a plain address."""
        host = self._by_session.get(_first_id(session_id))
        if host is not None:
            return host.target.alias
        address = self._known.get(session_id)
        if address is None:
            return None
        return address.host if ssh_config.lookup(address.host, self._config).is_alias else None

    async def offers(self, query: OfferQuery) -> Sequence[Offer]:
        """One offer a host. Raises UsageError when there is no host at all."""
        if not self._hosts:
            raise UsageError(*await asyncio.to_thread(self._none_given))
        now = clock.now()
        if query.nodes > 1:
            return [self._together(query.nodes, now)]
        return [self._offer(host, now) for host in self._hosts.values()]

    def _together(self, nodes: int, now: datetime) -> Offer:
        """All of them as one, in the order in which they were named."""
        first, *others = self._hosts.values()
        if len(self._hosts) != nodes:
            raise UsageError(
                f"--nodes {nodes} takes {nodes} machines; named: {len(self._hosts)}",
                "name each once: --host user@a,user@b; the first serves the endpoint",
            )
        joined = tuple(str(host.target.address) for host in others)
        price = sum(host.listed.price_per_hour for host in self._hosts.values())
        return replace(self._offer(first, now), joined=joined, price_per_hour=price)

    async def joined(self, offer: Offer) -> list[RentAnswer]:
        """How the machines are entered that serve together with that of an offer."""
        there = [self._hosts[f"ssh:{each}"] for each in offer.joined]
        return [
            _answer(
                Session(
                    session_id(host.target.address),
                    *(self.name, "ssh", SessionStatus.RUNNING),
                    ssh=host.target.address,
                ),
                host,
                await self._key_of(host),
            )
            for host in there
        ]

    def _none_given(self) -> tuple[str, str]:
        """What to say. Nothing is entered only because ~/.ssh/config names it."""
        found = ssh_config.aliases(self._config)
        if not found:
            return "no machine given for the ssh backend", _NO_HOST_HINT
        some = ", ".join(found[:_NAMED]) + (", ..." if len(found) > _NAMED else "")
        several = f", --host {','.join(found[:2])} for several" if len(found) > 1 else ""
        return (
            f"which machine of the ssh backend? ~/.ssh/config names {one_line(some, 300)}",
            one_line(f"--host {found[0]} uses that one{several}; in the terminal UI, F6 asks", 300),
        )

    def _offer(self, host: _Host, now: datetime) -> Offer:
        listed = host.listed
        name, count = host.gpus
        return Offer(
            id=host.offer_id,
            backend=self.name,
            provider="ssh",
            gpu_name=name,
            gpu_count=count,
            vram_gb=listed.vram_gb,
            price_per_hour=listed.price_per_hour,
            location=listed.location,
            machine_id=str(host.target.address),
            fetched_at=now,
        )

    async def rent(self, request: RentRequest) -> RentAnswer:
        """The machine is there already: nothing is sent. Raises UsageError for a bad key file."""
        host = self._hosts.get(request.offer.id)
        if host is None:
            raise OfferGone(
                one_line(request.offer.id, 100),
                hint="`gdl-tui offers --backend ssh` lists the hosts",
            )
        identity = await self._key_of(host)
        ident = session_id(host.target.address)
        in_use = {*self._known, *self._rented} - self._stopped
        if ident in in_use:
            ident = f"{ident}-{secrets.token_hex(3)}"
        self._stopped.discard(ident)
        self._rented[ident] = clock.now()
        session = replace(self._session(ident), price_per_hour=request.offer.price_per_hour)
        return _answer(session, host, identity)

    async def _key_of(self, host: _Host) -> str | None:
        identity = self._identity
        if identity is None and host.listed.identity:
            identity = await asyncio.to_thread(check_identity, host.listed.identity)
        return identity

    async def session(self, session_id: str) -> Session:
        return self._session(session_id)

    def _session(self, ident: str) -> Session:
        host = self._by_session.get(_first_id(ident))
        address = host.target.address if host else self._known.get(ident)
        if address is None:
            raise SessionGone(
                f"session {one_line(ident, 60)} does not belong to any machine known here",
                "name its machine with --host user@host:port",
            )
        stopped = ident in self._stopped
        return Session(
            id=ident,
            backend=self.name,
            provider="ssh",
            status=SessionStatus.STOPPED if stopped else SessionStatus.RUNNING,
            gpu_name=host.gpus[0] if host else NOT_ASKED,
            gpu_count=host.gpus[1] if host else 0,
            price_per_hour=host.listed.price_per_hour if host else 0.0,
            ssh=None if stopped else address,
            created_at=self._rented.get(ident),
        )

    async def sessions(self) -> Sequence[Session]:
        """Those begun in this process, newest first, then the earlier ones that are known."""
        newest = sorted(self._rented, key=lambda ident: self._rented[ident], reverse=True)
        earlier = [ident for ident in self._known if ident not in self._rented]
        return [self._session(ident) for ident in (*newest, *earlier)]

    async def release(self, session_id: str) -> None:
        """Nothing to destroy: the machine is only forgotten. What we started on it is the
        caller's to end beforehand."""
        self._stopped.add(session_id)

    async def costs(self) -> CostReport:
        return CostReport(0.0, note="your own machines: nothing is billed through this program")

    async def check(self) -> Sequence[Finding]:
        if not self._hosts:
            what, hint = await asyncio.to_thread(self._none_given)
            return (Finding("ssh hosts", "warn", what, hint),)
        return await asyncio.gather(*(_knock(host.target) for host in self._hosts.values()))

    async def aclose(self) -> None:
        """Holds nothing open."""


def _answer(session: Session, host: _Host, identity: str | None) -> RentAnswer:
    return RentAnswer(
        session,
        identity_file=identity,
        agent_auth=identity is None,
        config_alias=host.target.alias,
    )


async def _knock(target: Target) -> Finding:
    """Does an SSH server answer there? Its greeting is read, nothing is sent."""
    name = f"ssh {target.address}"
    try:
        async with asyncio.timeout(_PROBE_S):
            reader, writer = await asyncio.open_connection(*target.reach)
            try:
                greeting = await reader.read(255)
            finally:
                writer.close()
    except TimeoutError:
        return Finding(name, "warn", f"no answer within {_PROBE_S:.0f} s", "is the machine on?")
    except (OSError, UnicodeError) as error:
        hint = "check host and port; behind a jump host this cannot be checked from here"
        return Finding(name, "warn", one_line(error), hint)
    if greeting.startswith(b"SSH-"):
        return Finding(name, "ok", one_line(greeting.decode("ascii", "replace"), 80))
    return Finding(name, "warn", "something other than an SSH server answers", "check the port")
