"""A first look at the machine: one shell script, one round trip."""

from __future__ import annotations

import re
import shlex

from gdl.domain.engine import NO_PROBE, HostProbe
from gdl.domain.errors import SshError
from gdl.domain.host import CommandRunner, Gpu, GpuProcess, HostFacts
from gdl.domain.text import one_line
from gdl.host import download

_BEGIN, _END = "gdl-facts-begin", "gdl-facts-end"
_DPKG_LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")

# Only POSIX shell and what every Linux or macOS has; each line may fail by itself. What may take
# long runs beside the rest: a driver that has to be woken, a docker daemon, version managers.
_SCRIPT = r"""
echo gdl-facts-begin
within() {
  # $1 seconds for the command, where there is a program that can end it.
  if command -v timeout >/dev/null 2>&1; then timeout "$@"; else shift; "$@"; fi
}
said() { sed "s/^/$1=/"; }
for p in python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 python3; do
  { command -v "$p" >/dev/null 2>&1 && v="$(within 10 "$p" -V 2>&1)" && echo "python=$v"; } &
done
if command -v nvidia-smi >/dev/null 2>&1; then
  { v=$(within 30 nvidia-smi 2>/dev/null | sed -n 's/.*CUDA[^:]*Version: *\([0-9.]*\).*/\1/p')
    echo "cuda=$v"; } &
  within 30 nvidia-smi --query-gpu=name,memory.total,compute_cap,driver_version \
    --format=csv,noheader,nounits 2>&1 | said gpu &
  within 30 nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null \
    | said gpu_used &
  within 30 nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits \
    2>/dev/null | said gpu_process &
else
  echo "gpu_error=nvidia-smi: not found"
fi
if command -v docker >/dev/null 2>&1; then
  {
    for d in docker "sudo -n docker"; do
      # Of the client's own words nothing counts: only the daemon knows its version.
      v=$(within 8 $d version --format '{{.Server.Version}}' 2>/dev/null) || continue
      case $v in [0-9]*) ;; *) continue;; esac
      echo "docker=$d"
      within 8 $d images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null | head -n 50 | said image
      break
    done
  } &
fi
for p in nvidia-container-cli nvidia-ctk nvidia-container-runtime; do
  if command -v "$p" >/dev/null 2>&1; then echo docker_gpus=1; fi
done
echo "os=$(uname -s 2>/dev/null)"
echo "arch=$(uname -m 2>/dev/null)"
echo "user=$(id -un 2>/dev/null)"
echo "home=$HOME"
echo "cpus=$(getconf _NPROCESSORS_ONLN 2>/dev/null)"
echo "ram_kib=$(awk '/^MemTotal:/ {print $2}' /proc/meminfo 2>/dev/null)"
for f in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
  if [ -r "$f" ]; then echo "ram_limit=$(cat "$f" 2>/dev/null)"; fi
done
echo "ram_bytes=$(sysctl -n hw.memsize 2>/dev/null)"
echo "disk_kib=$(df -Pk "$GDL_DIR" 2>/dev/null | awk 'NR==2 {print $4}')"
if [ -n "$GDL_MOUNTED" ]; then
  echo "volume_kib=$(df -Pk "$GDL_VOLUME" 2>/dev/null | awk 'NR==2 {print $4}')"
fi
if [ -d /dev/shm ]; then echo "shm_kib=$(df -Pk /dev/shm 2>/dev/null | awk 'NR==2 {print $2}')"; fi
echo "libc=$(getconf GNU_LIBC_VERSION 2>/dev/null)"
for f in /lib/ld-musl-*; do if [ -e "$f" ]; then echo "libc=musl"; fi; done
for f in $GDL_LOCKS; do
  if i=$(stat -c %i "$f" 2>/dev/null) && grep -q ":$i " /proc/locks 2>/dev/null; then
    echo "dpkg_lock=$f"
  fi
done
if [ -n "$GDL_MODEL" ]; then
  f="${HF_HUB_CACHE:-${HF_HOME:-$HOME/.cache/huggingface}/hub}/$GDL_MODEL"
  if [ -d "$f" ]; then echo "model_kib=$(du -sk "$f" 2>/dev/null | awk '{print $1}')"; fi
fi
{
GDL_ENGINE_PROBE
} </dev/null 2>/dev/null | said engine &
{ command -v uv >/dev/null 2>&1 || [ -x "$HOME/.local/bin/uv" ]; } && echo uv=1
wait
echo gdl-facts-end
"""

_PYTHON = re.compile(r"Python (\d+\.\d+(?:\.\d+)?)")
_LIBC = re.compile(r"glibc \d+\.\d+|musl")
_DOCKERS = ("docker", "sudo -n docker")
_MAX_GPUS = 64
_MAX_ENGINE_ROWS = 200
_MAX_PROCESSES = 64


async def inspect_host(
    runner: CommandRunner,
    work_dir: str,
    *,
    timeout: float = 60.0,
    measure: bool = False,
    probe: HostProbe = NO_PROBE,
    hub_id: str = "",
    image: str = "",
    exports: str = "",
) -> HostFacts:
    """What the machine is, without changing it (but for making the work folder, mode 0700).

    measure: the download rate as well, within the same round trip and three seconds; a machine
    without a network, or without curl, is no error. hub_id: a model to look for among those
    downloaded before. image: that the machine was rented with, where it was chosen. probe: what to
    look for on behalf of the engine; its script finds that name as "$GDL_IMAGE". exports: shell
    that sets variables first, such as where a volume is (GDL_VOLUME, once GDL_MOUNTED is set).

    Raises SshError when the answer is not what the script prints: then what answers is no shell one
    can work with.
    """
    folder = shlex.quote(work_dir)
    if work_dir.startswith("~/"):
        folder = f'"$HOME"{shlex.quote(work_dir[1:])}'
    head = f"umask 077; mkdir -p {folder} || exit 73; GDL_DIR={folder}; export GDL_DIR\n"
    head += exports
    cached = f"models--{hub_id.replace('/', '--')}" if hub_id else ""
    head += f"GDL_MODEL={shlex.quote(cached)}\nGDL_LOCKS={shlex.quote(' '.join(_DPKG_LOCKS))}\n"
    head += f"GDL_IMAGE={shlex.quote(image)}\n"
    reads = download.script(probe.index_page) if measure else ""
    begin, _, rest = _SCRIPT.replace("GDL_ENGINE_PROBE", probe.script or ":").partition(
        "\nwithin()"
    )
    script = head + begin + reads + "\nwithin()" + rest
    # As the command itself: what a command reads is sent a round trip after it.
    result = await runner.run(script, timeout=timeout)
    if result.exit_status == 73:
        raise SshError(
            f"cannot make the folder {work_dir} on the machine: {_last(result.stderr)}",
            "the home folder must be writable",
        )
    text = result.stdout
    if _BEGIN not in text or _END not in text:
        said = _last(result.stderr) or _last(text) or "nothing"
        raise SshError(
            f"the machine's shell does not answer as one (said: {said})",
            "a forced command or a broken image; try another machine",
        )
    return parse_facts(text.split(_BEGIN, 1)[1].split(_END, 1)[0], probe)


def parse_facts(text: str, probe: HostProbe = NO_PROBE) -> HostFacts:
    """The script's `key=value` lines to facts; what cannot be read is left at zero or empty."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, found, value = line.partition("=")
        if found:
            values.setdefault(key.strip(), []).append(one_line(value, 200))

    def first(key: str) -> str:
        return values.get(key, [""])[0]

    gpus, driver, gpu_error = _gpus(values.get("gpu", []))
    pythons = {m.group(1) for v in values.get("python", []) if (m := _PYTHON.search(v))}
    libc = next((m.group() for v in values.get("libc", []) if (m := _LIBC.match(v))), "")
    return HostFacts(
        os=first("os"),
        arch=first("arch"),
        cpu_count=int(_number(first("cpus"))),
        ram_gib=round(_ram_gib(values), 1),
        disk_free_gib=round(_number(first("disk_kib")) / 2**20, 1),
        volume_free_gib=_volume_gib(values),
        pythons=tuple(sorted(pythons, key=_version, reverse=True)),
        gpus=gpus,
        driver=driver,
        cuda=first("cuda"),
        gpu_error="" if gpus else (gpu_error or first("gpu_error")),
        has_uv=first("uv") == "1",
        home=first("home"),
        user=first("user"),
        shm_mib=int(_number(first("shm_kib")) / 1024),
        libc=libc,
        docker=first("docker") if first("docker") in _DOCKERS else "",
        docker_gpus=first("docker_gpus") == "1",
        images=tuple(values.get("image", [])[:50]),
        dpkg_lock=first("dpkg_lock"),
        gpu_processes=_processes(values.get("gpu_process", [])) if gpus else (),
        gpu_memory_used_mib=_used(values.get("gpu_used", []), gpus),
        download_mb_s=download.rate(values.get("download", [])),
        engine=probe.read(_pairs(values.get("engine", []))),
        model_gib=round(_number(first("model_kib")) / 2**20, 1),
    )


def _pairs(rows: list[str]) -> dict[str, list[str]]:
    """The `key=value` lines of an engine's probe."""
    found: dict[str, list[str]] = {}
    for row in rows[:_MAX_ENGINE_ROWS]:
        key, equals, value = row.partition("=")
        if equals:
            found.setdefault(key.strip(), []).append(value)
    return found


def _volume_gib(values: dict[str, list[str]]) -> float | None:
    told = values.get("volume_kib")
    return round(_number(told[0]) / 2**20, 1) if told else None


def _ram_gib(values: dict[str, list[str]]) -> float:
    """What the machine has, or less where a container's limit says so ("max": no limit)."""
    told = _number(values.get("ram_kib", [""])[0]) / 2**20
    told = told or _number(values.get("ram_bytes", [""])[0]) / 2**30
    limits = [_number(limit) / 2**30 for limit in values.get("ram_limit", [])]
    return min([told, *(limit for limit in limits if 0 < limit < told)])


def _gpus(rows: list[str]) -> tuple[tuple[Gpu, ...], str, str]:
    """(GPUs, driver version, what nvidia-smi said instead of a table)."""
    gpus: list[Gpu] = []
    driver, said = "", ""
    for row in rows[:_MAX_GPUS]:
        cells = [cell.strip() for cell in row.split(",")]
        if len(cells) == 4 and _number(cells[1]) > 0:
            gpus.append(Gpu(cells[0], int(_number(cells[1])), cells[2]))
            driver = cells[3]
        elif row and not said:
            said = row
    return tuple(gpus), driver, said


def _processes(rows: list[str]) -> tuple[GpuProcess, ...]:
    """Who holds GPU memory, one entry a process; what a driver does not tell counts as 0."""
    held: dict[int, int] = {}
    for row in rows[:_MAX_PROCESSES]:
        pid, comma, memory = row.partition(",")
        if comma and pid.strip().isdecimal():
            number = int(pid) % 2**31
            held[number] = held.get(number, 0) + int(_number(memory.strip()))
    return tuple(GpuProcess(pid, memory) for pid, memory in held.items())


def _used(rows: list[str], gpus: tuple[Gpu, ...]) -> int:
    """Memory in use on all GPUs; 0 when the driver does not tell it of each."""
    used = [_number(row) for row in rows if row]
    return int(sum(used)) if len(used) == len(gpus) else 0


def _number(text: str) -> float:
    """A number from 0 to 10^18, else 0: what comes from a machine may be anything."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1e18 else 0.0


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return one_line(lines[-1], 200) if lines else ""
