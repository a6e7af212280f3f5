"""Making an SSH connection: keys, the pinned host key, jump hosts, and errors in plain words."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import asyncssh

from gdl.domain.errors import GdlError, SshError, UsageError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.session import SshAddress
from gdl.domain.text import one_line
from gdl.keyring.ssh_keys import (
    host_key_algorithms,
    host_key_changed,
    host_key_not_known,
    load_key,
    read_pin,
    write_pin,
)
from gdl.ssh.dial_errors import explained
from gdl.ssh.known_hosts import NOBODY, KnownKeys, of_host, usual_files
from gdl.ssh.login import LoginAhead, signs_alone

TunnelBy = Literal["auto", "openssh", "built-in"]

CIPHERS = (
    # AES-GCM is the fastest by far where the processor helps; the rest is for older servers.
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
_MAX_HOPS = 4
_IGNORE = 2
"""SSH_MSG_IGNORE (RFC 4253)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Everything that is needed to connect; no secret inside.

    identity_file: the private key; None with agent_auth: the agent and the default keys.
    host_key_file: the public host key of this machine; written on first use (0600), then binding.
    config_alias: a Host of ~/.ssh/config, which then gives host, port, user, IdentityFile and
    ProxyJump; `address` only names it.
    tunnel: what carries forwarded ports of a Link; see settings.
    known_hosts: the machine is the user's own, and so are the host keys that are known of it.
    """

    address: SshAddress
    identity_file: Path | None
    host_key_file: Path
    agent_auth: bool = False
    connect_timeout_s: float = 20.0
    keepalive_s: float = 15.0
    config_alias: str | None = None
    tunnel: TunnelBy = "auto"
    known_hosts: bool = False

    @property
    def label(self) -> str:
        """How messages call it."""
        return one_line(self.config_alias or str(self.address), 120)


class Client(asyncssh.SSHClient):
    """Holds the host to its pinned key, and remembers why the connection ended. key: to log in with
    at once; None: as the library does it. known: what the user's known_hosts says of it."""

    def __init__(
        self,
        pinned: asyncssh.SSHKey | None,
        key: asyncssh.SSHKey | None = None,
        known: KnownKeys = NOBODY,
    ) -> None:
        self._pinned = pinned
        self._known = known
        self._key = key
        self.login: LoginAhead | None = None
        self.offered: asyncssh.SSHKey | None = None
        self.mismatch = False
        self.unknown = False
        self.reason = ""

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        if self._key is not None:
            self.login = LoginAhead(conn, self._key)

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        self.offered = key
        if self._pinned is None:
            # First use. The same key is asked for again at every renewal of the session keys.
            self.unknown = not self._known.accepts(key)
            if self.unknown:
                return False
            self._pinned = key
        self.mismatch = key.public_data != self._pinned.public_data
        return not self.mismatch

    def refusal(self, where: str) -> GdlError | None:
        """Why the host key was not accepted, or None. where: how the machine is called."""
        if self.mismatch:
            return host_key_changed(where, self.offered)
        return host_key_not_known(where, self.offered) if self.unknown else None

    def connection_lost(self, exc: Exception | None) -> None:
        self.reason = one_line(str(exc), 200) if exc is not None else "closed by the machine"


@dataclass(slots=True)
class Dialled:
    """A connection that is up, the client object it reports to, the hops it goes through, and the
    key files that were offered; none where the agent or the default keys were."""

    conn: asyncssh.SSHClientConnection
    client: Client
    fingerprint: str
    hops: tuple[asyncssh.SSHClientConnection, ...] = ()
    identities: tuple[Path, ...] = ()


async def dial(target: Target) -> Dialled:
    """Connect and authenticate within `connect_timeout_s`.

    Raises SshAuthFailed, HostKeyChanged, SshError (refused, timed out, unknown host, protocol),
    and UsageError for a key or configuration file that cannot be used.
    """
    hops: list[asyncssh.SSHClientConnection] = []
    try:
        async with asyncio.timeout(target.connect_timeout_s):
            return await _dial(target, hops)
    except BaseException as error:
        for hop in hops:
            hop.abort()
        if isinstance(error, TimeoutError):
            raise SshError(
                f"no SSH answer from {target.label} within {target.connect_timeout_s:g} s",
                "check the address, the port and any firewall; a new machine may still be booting",
            ) from None
        raise


async def _dial(
    target: Target,
    hops: list[asyncssh.SSHClientConnection],
    tunnel: asyncssh.SSHClientConnection | None = None,
) -> Dialled:
    """One connection, through `tunnel` if given; jump hosts made on the way go to `hops`."""
    pinned = await asyncio.to_thread(read_pin, target.host_key_file)
    client = Client(pinned)
    try:
        keywords = await _options(target, pinned)
        jumps = keywords.pop("jumps", "")
        known: KnownKeys = keywords.pop("known_keys")
        identities = keywords.pop("identities")
        if tunnel is None and jumps:
            tunnel = await _jump(target, jumps, hops)
        keywords["tunnel"] = tunnel
        keys = keywords.get("client_keys", [])
        ahead = keys[0] if len(keys) == 1 and signs_alone(keys[0]) else None
        client = Client(pinned, ahead, known)
        try:
            conn = await asyncssh.connect(client_factory=lambda: client, **keywords)
        except (asyncssh.Error, OSError) as error:
            if not _puts_up_badly(error, client):
                raise
            client = Client(pinned, known=known)
            conn = await asyncssh.connect(client_factory=lambda: client, **keywords)
    except GdlError:
        raise
    except (asyncssh.Error, asyncssh.KeyImportError, OSError, ValueError) as error:
        raise client.refusal(target.label) or explained(error, target.label) from None
    _spare_ignores(conn)
    key = conn.get_server_host_key()
    try:
        if key is None:
            raise SshError(f"{target.label} showed no host key", "it cannot be trusted")
        if pinned is None:
            await asyncio.to_thread(write_pin, target.host_key_file, key, target.label)
    except BaseException:
        conn.abort()
        raise
    return Dialled(conn, client, key.get_fingerprint(), tuple(hops), identities)


def _puts_up_badly(error: Exception, client: Client) -> bool:
    """Whether a server that was sent everything at once hung up in place of an answer: one that is
    peculiar is asked the slow way."""
    if client.login is None or not client.login.sent or client.mismatch or client.unknown:
        return False
    return not isinstance(error, asyncssh.PermissionDenied)


def _spare_ignores(conn: asyncssh.SSHClientConnection) -> None:
    """Do without the empty message that asyncssh puts before every other. It guards ciphers in CBC
    mode, of which we take none, and costs each small packet a second one. No option turns it off;
    `send_packet` is an undocumented method."""
    send = conn.send_packet

    def send_packet(kind: int, *parts: bytes, **more: Any) -> None:
        if kind != _IGNORE:
            send(kind, *parts, **more)

    vars(conn)["send_packet"] = send_packet


async def _jump(
    target: Target, jumps: str, hops: list[asyncssh.SSHClientConnection]
) -> asyncssh.SSHClientConnection | None:
    """Connect to the jump hosts in turn (`[user@]host[:port],...`; a host may be an alias).

    asyncssh would check them against the user's known_hosts; each is pinned by itself instead,
    in a file beside the machine's.
    """
    tunnel: asyncssh.SSHClientConnection | None = None
    for name in (part.strip() for part in jumps.split(",")):
        user, _, rest = name.rpartition("@")
        host, _, port = rest.partition(":") if rest.count(":") == 1 else (rest, "", "")
        if not host or (port and not port.isdigit()):
            raise UsageError(
                f"bad jump host {one_line(name, 80)!r}", "correct ProxyJump in ~/.ssh/config"
            )
        if len(hops) >= _MAX_HOPS:
            raise UsageError(
                f"more than {_MAX_HOPS} jump hosts on the way to {target.label}",
                "check ProxyJump in ~/.ssh/config for a circle",
            )
        safe = "".join(c if c.isalnum() or c in ".-_" else "_" for c in name)[:80]
        base = target.host_key_file.name.partition(".hop-")[0]
        hop = replace(
            target,
            config_alias=host,
            identity_file=None,
            host_key_file=target.host_key_file.with_name(f"{base}.hop-{safe}"),
            address=SshAddress(host, int(port or 0), user),
        )
        tunnel = (await _dial(hop, hops, tunnel)).conn
        hops.append(tunnel)
    return tunnel


async def _options(target: Target, pinned: asyncssh.SSHKey | None) -> dict[str, Any]:
    """Arguments for asyncssh.connect, "identities", the key files that are offered, none where the
    agent or the default keys are, and "jumps" where the configuration names jump hosts.
    Nothing is taken from the user's files unless an alias asks for it."""
    keywords: dict[str, Any] = {
        "host": target.config_alias or target.address.host,
        "known_hosts": lambda host, addr, port: ([], [], []),
        "x509_trusted_certs": None,
        "encryption_algs": list(CIPHERS),
        "compression_algs": ["none"],
        "preferred_auth": "publickey",
        "password_auth": False,
        "kbdint_auth": False,
        "host_based_auth": False,
        "gss_auth": False,
        "gss_kex": False,
        "gss_host": None,
        "agent_forwarding": False,
        "x11_forwarding": False,
        "request_pty": False,
        "keepalive_interval": target.keepalive_s,
        "keepalive_count_max": 3,
        # The time-out around `dial` covers both, hops included.
        "connect_timeout": None,
        "login_timeout": target.connect_timeout_s,
        "config": None,
    }
    alias_keys: list[str] = []
    alias: asyncssh.SSHClientConnectionOptions | None = None
    if target.config_alias is None:
        keywords |= {"port": target.address.port, "username": target.address.user}
        keywords["proxy_command"] = None
    else:
        keywords["config"] = await asyncio.to_thread(_user_config)
        # A jump host may carry a user and a port of its own; an alias leaves both to its file.
        if ".hop-" in target.host_key_file.name:
            if target.address.port:
                keywords["port"] = target.address.port
            if target.address.user:
                keywords["username"] = target.address.user
        alias = known = await asyncssh.SSHClientConnectionOptions.construct(
            config=keywords["config"], host=target.config_alias, client_keys=None
        )
        if isinstance(known.tunnel, str) and known.tunnel.lower() != "none":
            keywords["jumps"] = known.tunnel
        alias_keys = list(known.config.get("IdentityFile", []))
    known_keys = NOBODY
    if target.known_hosts and pinned is None:
        known_keys = await asyncio.to_thread(_known_keys, target, alias)
    keywords["known_keys"] = known_keys
    first = [pinned] if pinned is not None else [*known_keys.keys, *known_keys.likely]
    keywords["server_host_key_algs"] = host_key_algorithms(first)
    named = [target.identity_file] if target.identity_file is not None else alias_keys
    keywords["identities"] = tuple(Path(name) for name in named)
    keywords |= await _keys(target, alias_keys)
    return keywords


async def _keys(target: Target, alias_keys: list[str]) -> dict[str, Any]:
    """Which keys are offered. The agent and the default keys only where that is allowed."""
    if target.identity_file is not None:
        key = await asyncio.to_thread(load_key, target.identity_file)
        return {"client_keys": [key], "agent_path": ""}
    if target.agent_auth:
        # Not given at all: asyncssh takes the alias's keys, else the defaults, and the agent.
        return {}
    if alias_keys:
        keys = [await asyncio.to_thread(load_key, Path(name)) for name in alias_keys]
        return {"client_keys": keys, "agent_path": ""}
    raise UsageError(
        f"no key to enter {target.label} with", "name one with --identity FILE or allow the agent"
    )


def _known_keys(target: Target, alias: asyncssh.SSHClientConnectionOptions | None) -> KnownKeys:
    """By the name and port that the machine is reached by, or its HostKeyAlias."""
    if alias is None:
        return of_host(target.address.host, target.address.port, usual_files())
    config: Any = alias.config
    named = config.get("HostKeyAlias")
    files = [Path(str(file)).expanduser() for file in config.get("UserKnownHostsFile") or ()]
    port = 0 if named else int(config.get("Port") or target.address.port)
    host = str(named or config.get("Hostname") or target.config_alias)
    return of_host(host, port, [*files, usual_files()[-1]] if files else usual_files())


def _user_config() -> list[str] | None:
    file = Path("~/.ssh/config").expanduser()
    return [str(file)] if file.is_file() else None
