"""The first look at a machine, what is waited for, and what is left before an install."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine_support import L4, cpu_host, gpu_host
from gdl.domain.errors import DeployError
from gdl.domain.host import Gpu, GpuProcess, HostFacts
from gdl.domain.offers import Offer
from gdl.domain.promises import broken_promise, same_gpu
from gdl.engines.registry import get
from gdl.host import download, inspection
from gdl.hub.names import resolve
from gdl.orchestrator.machine import preflight
from gdl.simulator import listings as sandbox_offers
from local_shell import Shell, put_script
from ssh_server import answering

TOOLS = (
    *("sh", "awk", "cat", "df", "du", "getconf", "grep", "id", "mkdir", "sed", "stat", "tail"),
    *("timeout", "uname"),
)
SMI = """case "$*" in
*name,memory.total*) for n in 0 1; do echo 'NVIDIA L4, 23034, 8.9, 570.124.06'; done ;;
*memory.used*) echo 1200; echo 3 ;;
*compute-apps*) echo '4242, 1100'; echo '4242, 97'; echo '[Not Found], x' ;;
*) echo '| Driver Version: 570.124.06   CUDA Version: 12.8  |' ;;
esac
"""


def machine(tmp_path: Path, **programs: str) -> Shell:
    """A shell with nothing but the tools of every Linux, and `programs`."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS:
        if name not in programs:
            found = shutil.which(name, path="/usr/bin:/bin")
            assert found, name
            (tools / name).symlink_to(found)
    for name, text in programs.items():
        # Never through a link: what it leads to belongs to this computer.
        assert not (tools / name).exists()
        put_script(tools, name, text)
    return Shell(tools)


async def facts_of(shell: Shell, tmp_path: Path, **more: Any) -> HostFacts:
    return await inspection.inspect_host(shell, str(tmp_path / "work"), **more)


# -- the facts -----------------------------------------------------------------------------------


async def test_everything_that_a_machine_tells(tmp_path: Path) -> None:
    docker = '[ "$1" = version ] && echo 28.3.0\n'
    shell = machine(tmp_path, **{"nvidia-smi": SMI, "docker": docker})
    (tmp_path / "work/venv/lib/python3.12/site-packages/vllm").mkdir(parents=True)
    facts = await facts_of(shell, tmp_path, probe=get("vllm").probe)
    assert facts.gpus == (Gpu("NVIDIA L4", 23034, "8.9"),) * 2
    assert (facts.driver, facts.cuda) == ("570.124.06", "12.8")
    assert facts.gpu_memory_used_mib == 1203
    assert facts.gpu_processes == (GpuProcess(4242, 1197),)
    assert facts.docker == "docker"
    assert facts.libc.startswith("glibc 2.")
    assert facts.shm_mib > 0 and facts.ram_gib > 0 and facts.disk_free_gib > 0
    assert facts.engine.installed and facts.dpkg_lock == "" and facts.download_mb_s is None
    assert len(shell.commands) == 1, "one round trip"


async def test_a_machine_that_has_next_to_nothing(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "mkdir", "sed"):
        (tools / name).symlink_to(f"/bin/{name}")
    facts = await facts_of(Shell(tools), tmp_path, measure=True, hub_id="org/model")
    assert not facts.gpus and facts.gpu_error == "nvidia-smi: not found"
    assert facts.docker == facts.libc == "" and facts.download_mb_s is None
    assert facts.ram_gib == facts.disk_free_gib == 0


@pytest.mark.parametrize(
    "docker", ["echo 'Cannot connect to the Docker daemon' >&2\nexit 1\n", "echo odd\n"]
)
async def test_a_docker_without_its_daemon_is_none(tmp_path: Path, docker: str) -> None:
    assert (await facts_of(machine(tmp_path, docker=docker), tmp_path)).docker == ""


async def test_a_docker_that_only_root_may_use(tmp_path: Path) -> None:
    docker = '[ -n "${AS_ROOT-}" ] && echo 27.0.1\n'
    sudo = 'AS_ROOT=1; export AS_ROOT; shift; exec "$@"\n'
    facts = await facts_of(machine(tmp_path, docker=docker, sudo=sudo), tmp_path)
    assert facts.docker == "sudo -n docker"


async def test_a_lock_of_the_package_manager_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock-frontend"
    monkeypatch.setattr(inspection, "_DPKG_LOCKS", (str(tmp_path / "none"), str(lock)))
    shell = machine(tmp_path)
    with lock.open("w") as file:
        assert (await facts_of(shell, tmp_path)).dpkg_lock == ""
        fcntl.lockf(file, fcntl.LOCK_EX)
        if not Path("/proc/locks").read_text():
            pytest.skip("this kernel shows no locks")
        assert (await facts_of(shell, tmp_path)).dpkg_lock == str(lock)


async def test_a_model_downloaded_before_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "hub/models--org--some-7b/blobs"
    folder.mkdir(parents=True)
    with (folder / "x").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 120 * 2**20)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    shell = machine(tmp_path)
    assert (await facts_of(shell, tmp_path, hub_id="org/some-7b")).model_gib == 0.1
    assert (await facts_of(shell, tmp_path, hub_id="org/x'; exit 3; '")).model_gib == 0


def test_a_containers_memory_counts_and_garbage_does_not() -> None:
    text = "ram_kib=67108864\nram_limit=max\nram_limit=17179869184\nram_limit=-1\nshm_kib=65536"
    facts = inspection.parse_facts(text)
    assert facts.ram_gib == 16.0 and facts.shm_mib == 64
    nasty = "docker=rm -rf /\nlibc=\x1b[31mglibc 2.35\nlibc=glibc 2.36; id\ngpu_process=9e9,1\n"
    facts = inspection.parse_facts(nasty + "disk_kib=inf\nshm_kib=1e400\nram_kib=nan\ncpus=-3\n")
    assert facts.docker == "" and facts.disk_free_gib == 0 and facts.shm_mib == 0
    assert facts.libc == "glibc 2.35" and facts.gpu_processes == () and facts.cpu_count == 0


# -- the download rate ---------------------------------------------------------------------------


async def test_the_rate_is_measured_where_packages_would_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real server, a real curl; the hub is out of reach."""
    asked: list[str] = []

    async def handler(reader: Any, writer: Any) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.split()[1])
        body = b'<a href="../../files/vllm-1.whl#sha256=0">vllm-1.whl</a>\n'
        if head.split()[1].endswith(".whl"):
            assert "range: bytes=0-" in head.casefold()
            body = b"x" * 1_000_000
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        writer.write(body[: len(body) // 2])
        await writer.drain()
        writer.write(body[len(body) // 2 :])
        await writer.drain()

    curl = 'for w; do case $w in *huggingface*) exit 6;; esac; done\nexec /usr/bin/curl "$@"\n'
    shell = machine(tmp_path, curl=curl, python3=f'exec {shlex.quote(sys.executable)} "$@"\n')
    async with answering(handler) as port:
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{port}/mirror/simple/")
        facts = await facts_of(shell, tmp_path, measure=True, probe=get("vllm").probe)
        assert facts.download_mb_s is not None and facts.download_mb_s > 0
        assert asked == ["/mirror/simple/vllm/", "/mirror/files/vllm-1.whl"]
        assert (await facts_of(shell, tmp_path)).download_mb_s is None
        assert len(asked) == 2, "nothing is read unless asked for"
        # Without that, where pip's configuration says.
        monkeypatch.delenv("UV_DEFAULT_INDEX")
        monkeypatch.delenv("PIP_INDEX_URL", raising=False)
        configured = tmp_path / "pip.conf"
        configured.write_text(f"[global]\nindex-url = http://127.0.0.1:{port}/other/simple\n")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(configured))
        await facts_of(shell, tmp_path, measure=True, probe=get("vllm").probe)
        assert asked[2:] == ["/other/simple/vllm/", "/other/files/vllm-1.whl"]


def test_reads_add_up_and_too_little_says_nothing() -> None:
    assert download.rate(["6000000 0.5 2.5", "8000000 1 3"]) == 7.0
    assert download.rate(["100000 0.5 3.0", "", "x y z", "0 0 0", "nan 1 2", "9e9 2 1"]) is None


def slow_shell(tmp_path: Path, bytes_read: int) -> Shell:
    curl = f"case $* in *simple*) exit 6;; esac\necho 'download={bytes_read} 0.0 10.0'\n"
    return machine(tmp_path, curl=curl)


async def test_a_slow_host_is_left_after_a_second_look(tmp_path: Path) -> None:
    facts = gpu_host(download_mb_s=1.2)
    with pytest.raises(DeployError, match=r"downloads at 2\.0 MB/s: 20 GB would take 167 min"):
        await preflight.refuse_slow(slow_shell(tmp_path, 20_000_000), facts, "vllm", 20, 1800)


async def test_a_slow_first_look_alone_decides_nothing(tmp_path: Path) -> None:
    slow = gpu_host(download_mb_s=1.2)
    better = await preflight.refuse_slow(slow_shell(tmp_path, 90_000_000), slow, "vllm", 20, 1800)
    assert better.download_mb_s == 9.0
    (tmp_path / "2").mkdir()
    small = await preflight.refuse_slow(
        slow_shell(tmp_path / "2", 20_000_000), slow, "vllm", 1.0, 1800
    )
    assert small.download_mb_s == 2.0
    for untouched in (gpu_host(), gpu_host(download_mb_s=80.0)):
        assert (
            await preflight.refuse_slow(Shell(Path("/none")), untouched, "vllm", 99, 1) is untouched
        )


# -- what was listed -----------------------------------------------------------------------------


def offer(**changes: Any) -> Offer:
    values: dict[str, Any] = {
        "id": "o",
        "backend": "shopper",
        "provider": "p",
        "gpu_name": "L4",
        "gpu_count": 1,
        "vram_gb": 24.0,
        "price_per_hour": 0.2,
    }
    return Offer(**(values | changes))


@pytest.mark.parametrize(
    ("listed", "facts", "reason"),
    [
        (offer(), gpu_host(), ""),
        (offer(gpu_count=0), cpu_host(), ""),
        (offer(), cpu_host(), ""),
        (offer(gpu_count=2), gpu_host(), "listed 2 GPUs, the machine shows 1"),
        (offer(), gpu_host(L4, L4), ""),
        (
            offer(gpu_name="RTX 4090"),
            gpu_host(Gpu("NVIDIA GeForce RTX 3060", 12288, "8.6")),
            "listed RTX 4090, the machine has NVIDIA GeForce RTX 3060",
        ),
        (
            offer(gpu_name="A100 SXM4", vram_gb=80),
            gpu_host(Gpu("NVIDIA A100-SXM4-40GB", 40960, "8.0")),
            "listed 80 GB VRAM, the GPU has 40 GiB",
        ),
        (
            offer(cuda_version=12.9),
            gpu_host(cuda="12.8"),
            "listed CUDA 12.9, driver allows 12.8",
        ),
        (offer(cuda_version=12.8), gpu_host(cuda="13.0"), ""),
        (offer(cuda_version=12.8), gpu_host(cuda="ERR!"), ""),
    ],
)
def test_less_than_listed_is_told_in_one_line(listed: Offer, facts: HostFacts, reason: str) -> None:
    assert broken_promise(listed, facts) == reason
    if reason:
        with pytest.raises(DeployError, match=reason):
            preflight.refuse_less_than_listed(listed, facts)


@pytest.mark.parametrize(
    ("listed", "shown"),
    [
        ("geforcertx4090-pcie-24gb", "NVIDIA GeForce RTX 4090"),
        ("H100 SXM", "NVIDIA H100 80GB HBM3"),
        ("h100-sxm5-80gb", "NVIDIA H100 80GB HBM3"),
        ("A100 PCIE", "NVIDIA A100 80GB PCIe"),
        ("RTX A6000", "NVIDIA RTX A6000"),
        ("rtxa6000-pcie-48gb", "NVIDIA RTX A6000"),
        ("Tesla V100", "Tesla V100-SXM2-16GB"),
        ("RTX_4070S_Ti", "NVIDIA GeForce RTX 4070S Ti"),
        ("Q RTX 8000", "Quadro RTX 8000"),
        ("GH200 SXM", "NVIDIA GH200 480GB"),
        ("RTX PRO 6000 WS", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition"),
        ("Titan RTX", "NVIDIA TITAN RTX"),
        ("GPU", "NVIDIA L4"),
        ("", "NVIDIA L4"),
    ],
)
def test_one_gpu_under_two_names(listed: str, shown: str) -> None:
    assert same_gpu(listed, shown)


@pytest.mark.parametrize(
    ("listed", "shown"),
    [
        ("RTX A6000", "NVIDIA RTX 6000 Ada Generation"),
        ("A40", "NVIDIA RTX A4000"),
        ("H100 SXM", "NVIDIA A100-SXM4-80GB"),
        ("L4", "NVIDIA A10"),
    ],
)
def test_two_gpus(listed: str, shown: str) -> None:
    assert not same_gpu(listed, shown)


def test_no_honest_machine_of_the_simulated_market_is_called_a_liar() -> None:
    for row in sandbox_offers.listings(400, 7):
        wire = row.wire(1.0, "")
        listed = offer(
            gpu_name=wire["gpu_type"],
            gpu_count=wire["gpu_count"],
            vram_gb=wire["vram_gb"],
            cuda_version=wire.get("cuda_version"),
        )
        gpu = Gpu(row.gpu.smi, row.gpu.memory_mib, row.gpu.capability)
        facts = gpu_host(*[gpu] * row.count, cuda=f"{row.driver_cuda:.1f}")
        assert broken_promise(listed, facts) == "", row


def test_occupied_memory_is_refused_where_the_model_would_have_fitted() -> None:
    model = resolve("mistral-7b")
    process = GpuProcess(77, 16000)
    held = gpu_host(gpu_memory_used_mib=16000, gpu_processes=(process,))
    with pytest.raises(DeployError, match=r"others use 17 of 24 GB GPU memory \(pid 77\)"):
        preflight.refuse_occupied_memory(model, held)
    preflight.refuse_occupied_memory(model, replace(held, gpu_memory_used_mib=500))
    preflight.refuse_occupied_memory(resolve("org/unknown"), held)
    told = preflight.worth_knowing(replace(held, gpus=(L4, L4), shm_mib=64), None, rented=True)
    assert told[0] == "process 77 holds 15.6 GiB of GPU memory" and "64 MiB" in told[1]


def test_on_ones_own_machine_a_broken_promise_is_only_told() -> None:
    listed = offer(gpu_count=2)
    assert preflight.worth_knowing(gpu_host(), listed, rented=False) == [
        "listed 2 GPUs, the machine shows 1"
    ]
    assert preflight.worth_knowing(gpu_host(), listed, rented=True) == []


# -- what is waited for --------------------------------------------------------------------------

REBUILDING = cpu_host(gpu_error="Failed to initialize NVML: Driver/library version mismatch")


class Waiting:
    """A machine that shows one look after the other, on a clock that only sleeping moves."""

    def __init__(self, *looks: HostFacts) -> None:
        self.looks = list(looks)
        self.now = 0.0
        self.told: list[str] = []
        self.firsts: list[bool] = []

    async def settled(self, *, fresh: bool = True, limit_s: float = 1800) -> HostFacts:
        return await preflight.settled(
            self._look, self._tell, fresh=fresh, limit_s=limit_s, clock=self._clock, sleep=self._nap
        )

    async def _look(self, first: bool) -> HostFacts:
        self.firsts.append(first)
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    async def _tell(self, text: str) -> None:
        self.told.append(text)

    def _clock(self) -> float:
        return self.now

    async def _nap(self, seconds: float) -> None:
        self.now += seconds


async def test_a_driver_that_is_being_rebuilt_is_waited_for() -> None:
    waiting = Waiting(REBUILDING, REBUILDING, gpu_host())
    assert (await waiting.settled()).has_gpu
    assert waiting.told[0] == "the GPU driver is being rebuilt; waited 0 of 1200 s"
    assert len(waiting.told) == 2 and waiting.firsts == [True, False, False]


@pytest.mark.parametrize(("limit_s", "minutes"), [(1800.0, 20), (60.0, 1)])
async def test_and_not_for_ever(limit_s: float, minutes: int) -> None:
    waiting = Waiting(REBUILDING)
    with pytest.raises(DeployError, match=f"after {minutes} min: Driver/library") as caught:
        await waiting.settled(limit_s=limit_s)
    assert caught.value.hint and waiting.now <= minutes * 60 + 1


async def test_a_package_manager_is_waited_for_and_then_left_to_its_work() -> None:
    busy = gpu_host(dpkg_lock="/var/lib/dpkg/lock")
    quick = replace(busy, download_mb_s=80.0)
    assert await Waiting(quick, gpu_host()).settled() == gpu_host(download_mb_s=80.0)
    waiting = Waiting(busy)
    assert await waiting.settled() == busy
    assert waiting.now == preflight.LOCK_GOES_S
    own = Waiting(busy)
    assert await own.settled(fresh=False) is busy and own.told == []
    without = Waiting(cpu_host(dpkg_lock="x", gpu_error="nvidia-smi: not found"), gpu_host())
    assert (await without.settled(fresh=False)).has_gpu
