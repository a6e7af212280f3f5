"""The ssh backend: machines one already has."""

from __future__ import annotations

import asyncio
import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from gdl.backends.ssh import ssh_config
from gdl.backends.ssh.backend import SshHostsBackend, parse_host, session_id
from gdl.backends.ssh.identity import check_identity
from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState, apply
from gdl.domain.errors import OfferGone, SessionGone, UsageError
from gdl.domain.events import Recorded
from gdl.domain.host import Gpu, HostFacts
from gdl.domain.offers import NOT_ASKED, Offer, OfferQuery
from gdl.domain.ranking import rank
from gdl.domain.session import RentRequest, SessionStatus, SshAddress
from gdl.presentation.hardware import gpus
from gdl.settings import Settings, SshHost

ANY = OfferQuery()
ME = getpass.getuser()

CONFIG = """
Include extra.conf
# machines
Host gpu-box  lab-*
    HostName 198.51.100.9
    Port 2222
    User alice
Host=eq
    User = "bob smith"
    Port=22x
Match host gpu-box exec "touch /tmp/never"
    User mallory
    Include extra.conf
Host *.example !secret.example
    Port 2200
Host *
    User carol
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".ssh"
    folder.mkdir()
    (folder / "config").write_text(CONFIG)
    (folder / "extra.conf").write_text("Host included\n  Port 2300\n  Include more.conf\n")
    (folder / "more.conf").write_text("User dave\n")
    return folder / "config"


@pytest.fixture
def no_config(tmp_path: Path) -> Path:
    return tmp_path / "none"


def settings(tmp_path: Path, *hosts: dict[str, Any]) -> Settings:
    return Settings(data_dir=tmp_path, hosts=tuple(SshHost.model_validate(h) for h in hosts))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("box", SshAddress("box", 22, ME)),
        ("root@box", SshAddress("box", 22, "root")),
        ("root@10.0.0.1:2200", SshAddress("10.0.0.1", 2200, "root")),
        ("[::1]:2200", SshAddress("::1", 2200, ME)),
        ("u@[2001:db8::1]", SshAddress("2001:db8::1", 22, "u")),
        ("::1", SshAddress("::1", 22, ME)),
        ("ssh5.vast.ai:12345", SshAddress("ssh5.vast.ai", 12345, ME)),
        (" gpu_box ", SshAddress("gpu_box", 22, ME)),
    ],
)
def test_hosts(text: str, address: SshAddress, no_config: Path) -> None:
    target = parse_host(text, no_config)
    assert (target.address, target.alias) == (address, None)


@pytest.mark.parametrize(
    "text",
    [
        "", "@", "@box", "root@", "box:", "box:0", "box:65536", "box:22x", "box:٢٢", "a:1:2",
        "[::1", "[::1]22", "[box]:22", "-oProxyCommand=x", "root@-x", "a b", "a;b", "$(id)",
        "ro ot@box", "box/path", "box\x1b[2J", "http://box",
    ],
)  # fmt: skip
def test_malformed_hosts(text: str, no_config: Path) -> None:
    with pytest.raises(UsageError) as caught:
        parse_host(text, no_config)
    assert caught.value.message.isprintable()
    assert caught.value.hint


def test_aliases(config: Path) -> None:
    box = parse_host("gpu-box")
    assert (box.alias, box.address) == ("gpu-box", SshAddress("gpu-box", 2222, "alice"))
    assert box.reach == ("198.51.100.9", 2222)
    assert parse_host("root@gpu-box:22").address == SshAddress("gpu-box", 22, "root")
    assert parse_host("lab-7").alias == "lab-7"
    # What a block includes is of that block.
    assert parse_host("included").address == SshAddress("included", 2300, "dave")
    assert parse_host("a.example").address == SshAddress("a.example", 2200, "carol")
    assert parse_host("eq").address.port == 22
    # `Host *` gives values, but makes nothing an alias.
    plain = parse_host("plain.host")
    assert (plain.alias, plain.address.user, plain.address.port) == (None, "carol", 22)
    assert parse_host("secret.example").alias is None


@pytest.mark.parametrize("name", ["gpu-box", "lab-7", "included", "a.example", "plain.host", "ALL"])
def test_asyncssh_reads_the_same(config: Path, name: str) -> None:
    """Where a file has no `Match` and no wrong line, the address shown is the one connected to."""
    text = CONFIG.replace("Port=22x", "Port=23")
    config.write_text(text[: text.index("Match")] + text[text.index("Host *.example") :])
    entry = ssh_config.lookup(name, config)
    theirs = asyncssh.SSHClientConnectionOptions(config=[str(config)], host=name, client_keys=None)
    assert (entry.hostname or name) == theirs.host
    assert (entry.port or 22, entry.user or ME) == (theirs.port, theirs.username)


def test_a_file_that_includes_itself_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(f"Include {path}\nHost box\n  Port 2222\n")
    assert ssh_config.aliases(path) == ["box"]
    assert ssh_config.lookup("box", path).port == 2222


async def test_an_alias_reaches_the_rent_answer(config: Path, tmp_path: Path) -> None:
    backend = SshHostsBackend(settings(tmp_path), host="gpu-box")
    (offer,) = await backend.offers(ANY)
    rented = await backend.rent(RentRequest(offer, "me", 1, "m"))
    assert (rented.config_alias, rented.agent_auth) == ("gpu-box", True)
    assert backend.config_alias(rented.session.id) == "gpu-box"
    assert backend.config_alias("ssh-00000000") is None


def key_file(folder: Path, mode: int = 0o600) -> Path:
    path = folder / "id_test"
    path.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    path.chmod(mode)
    return path


def test_identity_files(tmp_path: Path) -> None:
    good = key_file(tmp_path)
    assert check_identity(str(good)) == str(good)

    public = tmp_path / "id_test.pub"
    public.write_bytes(asyncssh.read_private_key(str(good)).export_public_key())
    other = tmp_path / "notes"
    other.write_text("hello")
    other.chmod(0o600)
    for path, words in (
        (tmp_path / "missing", "cannot read"),
        (tmp_path, "not a file"),
        (public, "is a public key"),
        (other, "no private key"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            check_identity(str(path))
        assert caught.value.hint
    with pytest.raises(UsageError) as pub:
        check_identity(str(public))
    assert str(good) in pub.value.hint

    good.chmod(0o644)
    with pytest.raises(UsageError, match="mode 0644") as caught:
        check_identity(str(good))
    assert "chmod 600" in caught.value.hint


def test_a_bad_identity_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        SshHostsBackend(settings(tmp_path), host="box", identity=str(tmp_path / "missing"))


async def test_listed_hosts_with_prices(tmp_path: Path) -> None:
    identity = key_file(tmp_path)
    backend = SshHostsBackend(
        settings(
            tmp_path,
            {"host": "root@10.0.0.1", "price_per_hour": 1.5, "gpu": "A100", "gpu_count": 2,
             "vram_gb": 80, "location": "cellar", "identity": str(identity)},
            {"host": "10.0.0.2:2222", "identity": str(tmp_path / "missing")},
        )
    )  # fmt: skip
    first, second = await backend.offers(ANY)
    assert (first.id, first.price_per_hour, first.gpu_name, first.total_vram_gb) == (
        "ssh:root@10.0.0.1:22", 1.5, "A100", 160,
    )  # fmt: skip
    assert second.gpu_count == 0

    rented = await backend.rent(RentRequest(first, "me", 1, "m"))
    assert (rented.identity_file, rented.agent_auth) == (str(identity), False)
    assert rented.private_key is None
    assert rented.session.price_per_hour == 1.5
    # One bad key in the list stands in nobody else's way.
    with pytest.raises(UsageError):
        await backend.rent(RentRequest(second, "me", 1, "m"))


async def test_no_host_at_all(tmp_path: Path) -> None:
    backend = SshHostsBackend(settings(tmp_path))
    with pytest.raises(UsageError, match="no machine given") as caught:
        await backend.offers(ANY)
    assert "--host" in caught.value.hint
    assert [f.status for f in await backend.check()] == ["warn"]


async def test_what_the_users_configuration_names_is_told_and_not_entered(
    config: Path, tmp_path: Path
) -> None:
    config.write_text("Host gpu1\nHost lab\n")
    backend = SshHostsBackend(settings(tmp_path))
    with pytest.raises(UsageError, match=r"~/.ssh/config names gpu1, lab") as caught:
        await backend.offers(ANY)
    assert "--host gpu1 uses that one, --host gpu1,lab for several" in caught.value.hint
    (finding,) = await backend.check()
    assert "gpu1, lab" in finding.detail


async def test_several_hosts_are_named_at_once(tmp_path: Path) -> None:
    backend = SshHostsBackend(settings(tmp_path), host="a@10.0.0.1, b@10.0.0.2:2222")
    assert [o.id for o in await backend.offers(ANY)] == ["ssh:a@10.0.0.1:22", "ssh:b@10.0.0.2:2222"]
    with pytest.raises(UsageError, match="malformed host"):
        SshHostsBackend(settings(tmp_path), host="10.0.0.1,")


async def test_what_nobody_has_asked_is_not_called_without_a_gpu(tmp_path: Path) -> None:
    hosts = ({"host": "a"}, {"host": "b", "gpu": "A100"}, {"host": "c", "gpu_count": 0})
    backend = SshHostsBackend(settings(tmp_path, *hosts))
    found = await backend.offers(ANY)
    assert [gpus(offer) for offer in found] == ["not asked yet", "A100", "CPU only"]
    # Nothing of what it may have speaks against it.
    for query in (
        OfferQuery(gpu="4090"),
        OfferQuery(gpu_count=2),
        OfferQuery(quantization="fp8"),
        OfferQuery(min_vram_gb=80),
    ):
        ranked = rank(found, query, cpu_allowed=True, needed_vram_gb=40)
        assert found[0] in [row.offer for row in ranked if row.excluded is None]
    rented = await backend.rent(RentRequest(found[0], "m", 1, "x"))
    assert gpus(await backend.session(rented.session.id)) == "not asked yet"


def test_what_a_look_at_the_machine_found_is_told_from_then_on() -> None:
    def after(*found: Gpu) -> str:
        events = (
            ev.AttemptStarted(1, "ssh:a", "ssh", NOT_ASKED, 0, 0.0, 0.0, ""),
            ev.HostInspected(
                1, HostFacts("Debian 12", "x86_64", 8, 64.0, 100.0, ("3.12.1",), gpus=found)
            ),
        )
        state = DeploymentState("d-1")
        for seq, event in enumerate(events, 1):
            state = apply(state, Recorded("d-1", seq, datetime(2026, 1, 1, tzinfo=UTC), event))
        assert state.attempt is not None
        return gpus(state.attempt)

    assert after(*[Gpu("NVIDIA GeForce RTX 4090", 24564, "8.9")] * 2) == "2x RTX 4090"
    assert after() == "CPU only"


async def test_sessions_are_stable_and_found_again(tmp_path: Path) -> None:
    address = SshAddress("10.0.0.1", 2222, "root")
    first = SshHostsBackend(settings(tmp_path), host=str(address))
    (offer,) = await first.offers(ANY)
    rented = await first.rent(RentRequest(offer, "me", 1, "m"))
    ident = rented.session.id
    assert ident == session_id(address)
    assert len(ident) == len("ssh-") + 8

    configured = SshHostsBackend(settings(tmp_path, {"host": str(address)}))
    assert (await configured.session(ident)).ssh == address
    remembered = SshHostsBackend(settings(tmp_path), known={ident: address, "local-1": address})
    assert (await remembered.session(ident)).ssh == address
    assert [s.id for s in await remembered.sessions()] == [ident]
    forgotten = SshHostsBackend(settings(tmp_path))
    with pytest.raises(SessionGone):
        await forgotten.session(ident)
    await forgotten.release(ident)

    await first.release(ident)
    ended = await first.session(ident)
    assert (ended.status, ended.ssh) == (SessionStatus.STOPPED, None)
    again = await first.rent(RentRequest(offer, "me", 1, "m"))
    assert again.session.status is SessionStatus.RUNNING


async def test_only_listed_machines_are_entered(tmp_path: Path) -> None:
    backend = SshHostsBackend(settings(tmp_path), host="10.0.0.1")
    other = Offer("ssh:root@10.9.9.9:22", "ssh", "ssh", "", 0, 0, 0)
    with pytest.raises(OfferGone):
        await backend.rent(RentRequest(other, "me", 1, "m"))


async def test_check_knocks(tmp_path: Path) -> None:
    async def greet(greeting: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    async def serve(greeting: bytes) -> asyncio.Server:
        return await asyncio.start_server(lambda _, w: greet(greeting, w), "127.0.0.1", 0)

    servers = [await serve(b"SSH-2.0-test\x1b[2J\r\n"), await serve(b"220 mail\r\n")]
    ports = [s.sockets[0].getsockname()[1] for s in servers]
    closed = await serve(b"")
    ports.append(closed.sockets[0].getsockname()[1])
    closed.close()
    await closed.wait_closed()
    backend = SshHostsBackend(settings(tmp_path, *({"host": f"127.0.0.1:{p}"} for p in ports)))
    found = await backend.check()
    assert [f.status for f in found] == ["ok", "warn", "warn"]
    assert found[0].detail == "SSH-2.0-test"
    for server in servers:
        server.close()
        await server.wait_closed()
