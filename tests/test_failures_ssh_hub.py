"""Real ssh and the hub's own client, whose servers refuse, lie or are gone.

The model hub is a server on loopback that answers as the real one does.
"""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from local_ports import free_port
from made_failures import GDL, Told, on_read_only, on_small_disk, run_out, without_network
from private_ca import PrivateCa
from real_sshd import Sshd, real_sshd
from web_servers import hub_with_a_file, listening, refusing

pytestmark = [pytest.mark.real, pytest.mark.long]

# -- ssh ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Client:
    """OpenSSH's own client with nothing of this computer's configuration."""

    folder: Path

    @property
    def known(self) -> Path:
        return self.folder / "known_hosts"

    def logs_in(
        self,
        address: str,
        port: int,
        *words: str,
        identity: Path | None = None,
        inside: Sequence[str | Path] = (),
        strict: str = "accept-new",
    ) -> Told:
        own = ["-F", "none", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={self.known}"]
        own += ["-o", f"StrictHostKeyChecking={strict}", "-o", "ConnectTimeout=3"]
        own += ["-o", "IdentityAgent=none"]
        if identity is not None:
            own += ["-o", "IdentitiesOnly=yes", "-i", str(identity)]
        command = [*inside, "ssh", *own, "-p", str(port), *words, address, "true"]
        return run_out(command, self.folder)


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with real_sshd(tmp_path / "sshd") as server:
        yield server


def address(server: Sshd) -> str:
    return f"{server.user}@{server.host}"


def test_ssh_to_a_port_that_nobody_listens_on(client: Client) -> None:
    told = client.logs_in("root@127.0.0.1", free_port())
    told.says("ssh-not-up", cause="no ssh server listens", action="wait")


def test_ssh_with_a_key_that_the_machine_does_not_know(client: Client, sshd: Sshd) -> None:
    key = client.folder / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    told = client.logs_in(address(sshd), sshd.port, identity=key)
    told.says("ssh-key-refused", cause="does not take our ssh key")


def test_ssh_to_a_machine_whose_host_key_has_changed(client: Client, sshd: Sshd) -> None:
    other = (sshd.identity.parent / "id.pub").read_text().split()[:2]
    client.known.write_text(f"[{sshd.host}]:{sshd.port} {' '.join(other)}\n")
    told = client.logs_in(address(sshd), sshd.port, identity=sshd.identity)
    told.says("host-key-changed", cause="another host key", action="stop")


def test_ssh_to_a_machine_that_nobody_has_met(client: Client, sshd: Sshd) -> None:
    told = client.logs_in(address(sshd), sshd.port, identity=sshd.identity, strict="yes")
    told.says("host-key-unknown", cause="host key is not known", action="stop")


def test_ssh_with_a_key_that_others_may_read(client: Client, sshd: Sshd) -> None:
    sshd.identity.chmod(0o644)
    told = client.logs_in(address(sshd), sshd.port, identity=sshd.identity)
    told.says("key-file-open", cause=str(sshd.identity), remedy="chmod 600")


def test_ssh_with_a_key_that_is_not_there(client: Client, sshd: Sshd) -> None:
    told = client.logs_in(address(sshd), sshd.port, identity=client.folder / "none")
    told.says("key-file-unreadable", cause=f"{client.folder}/none")


def test_ssh_with_a_key_that_has_a_passphrase(client: Client, sshd: Sshd) -> None:
    command: list[str | Path] = [
        "ssh-keygen",
        "-q",
        "-p",
        "-P",
        "",
        "-N",
        "secret",
        "-f",
        sshd.identity,
    ]
    subprocess.run(command, check=True)
    told = client.logs_in(address(sshd), sshd.port, "-v", identity=sshd.identity)
    told.says("key-file-locked", cause="passphrase", remedy="ssh-add")


def test_ssh_to_a_name_that_does_not_resolve(client: Client) -> None:
    told = client.logs_in("root@gpu.example.org", 22, inside=without_network())
    told.says("ssh-name", cause=r"gpu\.example\.org", action="stop")


def test_ssh_without_an_algorithm_in_common(client: Client, tmp_path: Path) -> None:
    with real_sshd(tmp_path / "old", "KexAlgorithms diffie-hellman-group1-sha1") as old:
        told = client.logs_in(address(old), old.port, identity=old.identity)
    told.says("ssh-algorithms", cause="no ssh algorithm in common")


def test_ssh_to_an_address_that_does_not_answer(client: Client) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [_begun(port) for _ in range(3)]
        try:
            told = client.logs_in("root@127.0.0.1", port)
        finally:
            for each in waiting:
                each.close()
    told.says("ssh-timeout", "ssh-closed-early", cause="does not answer|closed")


def _begun(port: int) -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    made.connect_ex(("127.0.0.1", port))
    return made


def test_ssh_to_a_web_server(client: Client) -> None:
    with listening(http.server.BaseHTTPRequestHandler) as url:
        told = client.logs_in("root@127.0.0.1", int(url.rsplit(":", 1)[1]))
    told.says("ssh-signature", "ssh-closed-early", cause="another service|speaks no|closed")


def test_ssh_to_a_server_that_hangs_up(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        told = client.logs_in("root@127.0.0.1", server.getsockname()[1])
        thread.join()
    told.says("ssh-closed-early", cause="closed the connection")


def test_a_forwarding_whose_port_is_taken(client: Client, sshd: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{port}:127.0.0.1:8000"]
        told = client.logs_in(address(sshd), sshd.port, *words, identity=sshd.identity)
    told.says("local-port-taken", cause=str(port))


def test_a_forwarding_that_the_machine_does_not_allow(client: Client, tmp_path: Path) -> None:
    with real_sshd(tmp_path / "strict", "AllowTcpForwarding no") as strict:
        words = ["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:9"]
        told = client.logs_in(address(strict), strict.port, *words, identity=strict.identity)
    told.says("forwarding-refused", cause="does not allow port forwarding")


# -- the hub --------------------------------------------------------------------------------------


_IN_PYTHON = """
import sys
from huggingface_hub import snapshot_download
snapshot_download("org/zebra", revision=sys.argv[2] if len(sys.argv) > 2 else None)
"""


@dataclass(frozen=True)
class HubClient:
    """The hub's own package: its command `hf`, or called by a program, as servers do."""

    way: str
    folder: Path

    def downloads(
        self, endpoint: str, *words: str, inside: Sequence[str | Path] = (), **env: str
    ) -> Told:
        place = {
            **os.environ,
            "HOME": str(self.folder),
            "HF_HOME": str(self.folder / "hub"),
            "HF_ENDPOINT": endpoint,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "3",
            **env,
        }
        called: list[str | Path] = [sys.executable, "-c", _IN_PYTHON]
        if self.way == "hf":
            called = [GDL.parent / "hf", "download", "org/zebra"]
        return run_out([*inside, *called, *words], self.folder, place)


@pytest.fixture(params=["hf", "python"])
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> HubClient:
    return HubClient(request.param, tmp_path)


_GATED = "Access to model org/zebra is restricted. You must have access to it and be authenticated."


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model(hub: HubClient, status: int) -> None:
    with refusing(status, "GatedRepo", _GATED) as url:
        told = hub.downloads(url)
    told.says("gated-model", cause="licence", remedy="licence|token")


def test_a_token_that_the_hub_does_not_take(hub: HubClient) -> None:
    with refusing(401, message="Invalid credentials in Authorization header") as url:
        told = hub.downloads(url, HF_TOKEN="hf_" + "x" * 34)
    told.says("bad-token", cause="does not accept the token")


def test_a_model_that_nobody_has(hub: HubClient) -> None:
    with refusing(404, "RepoNotFound", "Repository not found") as url:
        told = hub.downloads(url)
    told.says("unknown-model", cause="no model of this name")


def test_a_revision_that_does_not_exist(hub: HubClient) -> None:
    with refusing(404, "RevisionNotFound", "Invalid rev id: v9") as url:
        told = hub.downloads(url, "--revision", "v9")
    told.says("unknown-revision", cause="no such revision")


def test_a_hub_that_limits_its_answers(hub: HubClient) -> None:
    with refusing(429, message="Too Many Requests") as url:
        told = hub.downloads(url)
    told.says("hub-rate-limit", cause="limits", action="wait")


def test_a_hub_that_is_out_of_order(hub: HubClient) -> None:
    with refusing(503) as url:
        told = hub.downloads(url)
    told.says("hub-server-error", cause="outage", action="wait")


def test_a_hub_that_forbids_it(hub: HubClient) -> None:
    with refusing(403) as url:
        told = hub.downloads(url)
    told.says("hub-forbidden", cause="refuses the download")


def test_a_mirror_that_does_not_run(hub: HubClient) -> None:
    told = hub.downloads(f"http://127.0.0.1:{free_port()}")
    told.says("hub-refused", cause="nobody listens", remedy="HF_ENDPOINT")


def test_a_mirror_that_is_a_login_page(hub: HubClient) -> None:
    with refusing(200) as url:
        told = hub.downloads(url)
    told.says("hub-mirror", "hub-answer-no-json", cause="in the hub's place is none")


def test_a_hub_whose_name_is_not_resolved(hub: HubClient) -> None:
    told = hub.downloads("https://hub.example.org", inside=without_network())
    told.says("dns", cause=r"cannot be resolved")


def test_a_proxy_that_is_dead(hub: HubClient) -> None:
    proxy = f"http://127.0.0.1:{free_port()}"
    told = hub.downloads("https://hub.example.org", HTTPS_PROXY=proxy, https_proxy=proxy)
    told.says("proxy-refused", "proxy", "hub-refused", cause="https_proxy", remedy="https_proxy")


@pytest.mark.parametrize("when", ["expired", "not-yet-valid"])
def test_a_clock_that_is_wrong(hub: HubClient, when: str) -> None:
    days = (-9, -2) if when == "expired" else (2, 9)
    ca = PrivateCa.made(hub.folder / "ca")
    begins, ends = (timedelta(days=each) for each in days)
    with refusing(200, tls=ca.server(begins=begins, ends=ends)) as url:
        told = hub.downloads(url, SSL_CERT_FILE=str(ca.file))
    told.says("certificate-time", cause="clock")


def test_a_certificate_of_a_company(hub: HubClient) -> None:
    ca = PrivateCa.made(hub.folder / "ca")
    with refusing(200, tls=ca.server()) as url:
        told = hub.downloads(url)
    told.says("certificate", cause="not trusted")


def test_a_cache_without_the_model_and_no_hub(hub: HubClient) -> None:
    told = hub.downloads("http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    told.says("hub-offline", "hub-not-cached", cause="cache", remedy="HF_HUB_OFFLINE|offline")


def test_a_disk_that_the_model_fills(hub: HubClient) -> None:
    small = on_small_disk(hub.folder / "hub", "1m")
    with hub_with_a_file(8 << 20) as url:
        told = hub.downloads(url, inside=small)
    told.says("no-space", cause="disk is full")


def test_a_cache_that_is_read_only(hub: HubClient) -> None:
    (hub.folder / "hub").mkdir()
    with hub_with_a_file(1000) as url:
        told = hub.downloads(url, inside=on_read_only(hub.folder / "hub"))
    told.says("read-only", "hub-cache-permission", cause=f"write.*{hub.folder}")


def test_a_cache_of_somebody_else(hub: HubClient) -> None:
    (hub.folder / "hub").mkdir(mode=0o755)
    if os.geteuid() or shutil.which("setpriv") is None:
        pytest.skip("only root can be somebody else")
    somebody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    with hub_with_a_file(1000) as url:
        told = hub.downloads(url, inside=somebody)
    told.says("hub-file-permission", cause="another user", remedy="HF_HOME")


def test_a_model_that_is_sent_in_part(hub: HubClient) -> None:
    with hub_with_a_file(1 << 20, 1 << 19) as url:
        told = hub.downloads(url)
    told.says("download-cut-off", cause="broke off")
