"""What the GPUs of the machine are doing, as nvidia-smi tells it."""

from __future__ import annotations

import math

from gdl.domain.host import CommandResult, CommandRunner
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.text import one_line

_FIELDS = (
    "name",
    "memory.used",
    "memory.total",
    "utilization.gpu",
    "temperature.gpu",
    "power.draw",
    "driver_version",
)
COMMAND = f"LC_ALL=C nvidia-smi --query-gpu={','.join(_FIELDS)} --format=csv,noheader,nounits"
"""One line a GPU; `reading` understands it."""
_NOT_FOUND = 127
_MAX_GPUS = 64

NO_GPU = "no GPU"


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU now. None: the card does not tell."""

    name: str
    memory_used_mib: int | None = None
    memory_total_mib: int | None = None
    utilization_percent: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None

    def __str__(self) -> str:
        parts = [self.name]
        if self.memory_used_mib is not None and self.memory_total_mib is not None:
            parts.append(
                f"{self.memory_used_mib / 1024:.1f}/{self.memory_total_mib / 1024:.1f} GiB"
            )
        if self.utilization_percent is not None:
            parts.append(f"{self.utilization_percent}%")
        if self.temperature_c is not None:
            parts.append(f"{self.temperature_c} °C")
        if self.power_w is not None:
            parts.append(f"{self.power_w:.0f} W")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class GpuStatus:
    """All GPUs of the machine. error: "" when they could be read, "no GPU" when there is none,
    else what nvidia-smi said."""

    gpus: tuple[GpuReading, ...] = ()
    driver: str = ""
    error: str = ""

    @property
    def absent(self) -> bool:
        return self.error == NO_GPU

    @property
    def summary(self) -> str:
        """One line, such as "RTX 4090 1.2/24.0 GiB 35% 51 °C 210 W, driver 570.86.10"."""
        if not self.gpus:
            return self.error
        driver = f", driver {self.driver}" if self.driver else ""
        return "; ".join(str(gpu) for gpu in self.gpus) + driver


async def gpu_status(runner: CommandRunner) -> GpuStatus:
    """Ask nvidia-smi. Raises SshError when the machine cannot be reached."""
    return parse(await runner.run(COMMAND, timeout=20.0))


def parse(result: CommandResult) -> GpuStatus:
    """The status told by what nvidia-smi printed. Never raises, whatever that is."""
    said = one_line(result.stdout + "\n" + result.stderr, 300)
    if result.exit_status == _NOT_FOUND or "No devices were found" in said:
        return GpuStatus(error=NO_GPU)
    if not result.ok:
        return GpuStatus(error=said or f"nvidia-smi failed with status {result.exit_status}")
    rows = [_row(line) for line in result.stdout.splitlines()[:_MAX_GPUS] if line.strip()]
    found = [row for row in rows if row is not None]
    if not found:
        return GpuStatus(error=said or "nvidia-smi said nothing")
    return GpuStatus(tuple(gpu for gpu, _ in found), found[0][1])


def reading(line: str) -> GpuReading | None:
    """The reading in one line of the command's output, or None when it is none."""
    row = _row(line)
    return None if row is None else row[0]


def _row(line: str) -> tuple[GpuReading, str] | None:
    """The reading and the driver's version in one line, or None when it is none.

    Split from the right: a name might have a comma in it.
    """
    parts = [one_line(part, 80) for part in line.rsplit(",", len(_FIELDS) - 1)]
    if len(parts) != len(_FIELDS) or not any(c.isalnum() for c in parts[0]):
        return None
    name, used, total, utilization, temperature, power, driver = parts
    reading = GpuReading(
        name,
        memory_used_mib=_whole(used),
        memory_total_mib=_whole(total),
        utilization_percent=_whole(utilization),
        temperature_c=_whole(temperature),
        power_w=number(power),
    )
    return reading, driver if driver[:1].isdigit() else ""


def _whole(text: str) -> int | None:
    value = number(text)
    return None if value is None else round(value)


def number(text: str) -> float | None:
    """The number at the beginning, or None ("[N/A]", "ERR!", "[Not Supported]")."""
    try:
        value = float(text.split()[0])
    except (ValueError, IndexError):
        return None
    return value if math.isfinite(value) and 0 <= value < 1e9 else None
