"""The GPUs' status, from what a real nvidia-smi prints in good and in bad days."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gdl.domain.host import CommandResult
from gdl.host import gpu_errors
from gdl.host.gpu import GpuReading, GpuStatus, gpu_status, parse
from gdl.host.gpu_errors import GpuErrors, GpuWatch
from local_shell import Shell, put_script


async def test_two_cards(tmp_path: Path) -> None:
    put_script(
        tmp_path,
        "nvidia-smi",
        'case "$1" in --query-gpu=name,memory.used,*) ;; *) exit 2;; esac\n'
        "echo 'NVIDIA GeForce RTX 4090, 1229, 24564, 35, 51, 210.45, 570.86.10'\n"
        "echo 'NVIDIA GeForce RTX 4090, 3, 24564, 0, 33, 12.10, 570.86.10'\n",
    )
    status = await gpu_status(Shell(tmp_path))
    assert status.gpus[0] == GpuReading("NVIDIA GeForce RTX 4090", 1229, 24564, 35, 51, 210.45)
    assert status.gpus[1].memory_used_mib == 3
    assert status.driver == "570.86.10" and status.error == "" and not status.absent
    assert status.summary == (
        "NVIDIA GeForce RTX 4090 1.2/24.0 GiB 35% 51 °C 210 W; "
        "NVIDIA GeForce RTX 4090 0.0/24.0 GiB 0% 33 °C 12 W, driver 570.86.10"
    )


async def test_a_machine_without_nvidia_smi_has_no_gpu(tmp_path: Path) -> None:
    status = await gpu_status(Shell(tmp_path))
    assert status.absent and status.summary == "no GPU" and status.gpus == ()


def test_no_devices() -> None:
    assert parse(CommandResult(6, "No devices were found\n", "")).absent


@pytest.mark.parametrize(
    ("exit_status", "said"),
    [
        (
            18,
            "Failed to initialize NVML: Driver/library version mismatch NVML library: 570.1",
        ),
        (9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."),
    ],
)
def test_what_a_failing_nvidia_smi_says_is_kept(exit_status: int, said: str) -> None:
    status = parse(CommandResult(exit_status, said.replace(" NVML lib", "\nNVML lib"), ""))
    assert status.error == said and not status.absent and not status.gpus


def test_values_that_the_card_does_not_tell() -> None:
    line = "Tesla T4, [N/A], 15360, [Not Supported], 40, ERR!, 535.161.08\n"
    status = parse(CommandResult(0, line, ""))
    assert status.gpus == (GpuReading("Tesla T4", None, 15360, None, 40, None),)
    assert status.summary == "Tesla T4 40 °C, driver 535.161.08"


@pytest.mark.parametrize(
    "out",
    ["", "\n\n", "hello", "a,b,c", ",,,,,,", "\x1b[31m\x00", "x" * 100_000, "," * 10_000],
    ids=["empty", "blank", "word", "few", "commas", "control", "long", "many"],
)
def test_garbage_is_an_error_in_one_short_line(out: str) -> None:
    status = parse(CommandResult(0, out, ""))
    assert not status.gpus and status.error
    assert len(status.error) <= 300 and status.error.isprintable()


def test_absurd_numbers_and_names_are_not_believed() -> None:
    status = parse(CommandResult(0, "\x1b[1mA, B100, nan, inf, -5, 1e99, 2 W, \x1b[2J5.1", ""))
    assert status.gpus == (GpuReading("A, B100", None, None, None, None, 2.0),)
    assert status.driver == "5.1"


XIDS = """[ 12.1] NVRM: Xid (PCI:0000:65:00): 31, pid=77, name=python, Ch 00000008
[ 99.0] nvidia-nvlink: Nvlink Core is being initialized
[104.5] NVRM: Xid (PCI:0000:65:00): 79, pid='<unknown>', GPU has fallen off the bus.
[104.6] NVRM: Xid (PCI:0000:65:00): 79, pid='<unknown>', GPU has fallen off the bus.
[104.7] NVRM: Xid (PCI:0000:65:00): 9999999, nonsense
"""


async def test_clocks_and_errors(tmp_path: Path) -> None:
    put_script(
        tmp_path,
        "nvidia-smi",
        'case "$1" in --query-gpu=clocks.sm,*) ;; *) exit 2;; esac\n'
        "echo '1695, 2100, 0'\necho '210, 2100, 2'\n",
    )
    put_script(tmp_path, "dmesg", f"cat <<'E'\n{XIDS}E\n")
    for tool in ("sed", "grep", "tail", "cat"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    worn = await gpu_errors.gpu_errors(Shell(tmp_path))
    assert worn == GpuErrors(((1695, 2100), (210, 2100)), 2, ((31, 1), (79, 2)))
    assert worn.told == (
        "1695/2100 MHz; 210/2100 MHz, 2 uncorrectable memory errors, "
        "Xid 31 (memory page fault), Xid 79 (fell off the bus) x 2"
    )


@pytest.mark.parametrize("said", ["", "C [N/A], [N/A], [N/A]\n", "C 1, 2\nX\n", "\x1b[31m\n" * 999])
def test_what_is_not_told_is_not_made_up(said: str) -> None:
    worn = gpu_errors.parse(CommandResult(0, said, ""))
    assert worn == GpuErrors() and worn.told == ""


def test_only_what_began_meanwhile_is_trouble() -> None:
    watch = GpuWatch(Shell())
    fine, broken = GpuStatus((GpuReading("T4"),)), GpuStatus(error="GPU is lost")
    watch.take(fine, GpuErrors(((1, 2),), 3, ((31, 1),)))
    assert watch.trouble == "" and watch.now.startswith("T4, 1/2 MHz, 3 uncorrectable")
    watch.take(fine, GpuErrors(((1, 2),), 4, ((31, 1), (79, 1))))
    assert watch.trouble == "1 uncorrectable memory error, Xid 79 (fell off the bus)"
    watch = GpuWatch(Shell())
    watch.take(broken, GpuErrors())
    assert watch.trouble == ""
    watch.take(broken, GpuErrors())
    assert watch.trouble == "GPU is lost"
    watch.take(fine, GpuErrors())
    assert watch.trouble == ""
