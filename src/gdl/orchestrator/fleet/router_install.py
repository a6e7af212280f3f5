"""The router's program on this computer: a pinned version, in an environment of its own."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from gdl.domain.errors import DeployError
from gdl.domain.text import one_line
from gdl.orchestrator.fleet.dialects import Dialect
from gdl.settings import Settings

_LIMIT_S = 600.0
_DONE = "installed"
_HELPS = "install it yourself and name it: GDL_FLEET__PROGRAM"

Tell = Callable[[str], Awaitable[None]]


async def program_of(dialect: Dialect, settings: Settings, tell: Tell) -> Path:
    """The program, installed unless it was before. Raises DeployError."""
    if settings.fleet.program:
        return await asyncio.to_thread(_named, settings.fleet.program)
    folder = settings.data_dir / "routers" / f"{dialect.package}-{dialect.version}"
    program = folder / "bin" / dialect.program
    async with _alone(folder):
        if (folder / _DONE).is_file() and program.is_file():
            return program
        await tell(f"installing {dialect.package} {dialect.version} on this computer")
        try:
            async with asyncio.timeout(_LIMIT_S):
                await _install(dialect, folder, settings)
        except TimeoutError:
            raise DeployError(
                f"{dialect.package} was not installed within {_LIMIT_S:.0f} s", _HELPS
            ) from None
        if not program.is_file():
            raise DeployError(f"{dialect.package} {dialect.version} has no program", _HELPS)
        (folder / _DONE).touch()
    return program


def _named(program: str) -> Path:
    path = Path(program).expanduser()
    if not path.is_file():
        raise DeployError(f"there is no router at {path}", "correct fleet.program")
    return path


@contextlib.asynccontextmanager
async def _alone(folder: Path) -> AsyncIterator[None]:
    """Of several fleets that begin at once, in whichever processes, one installs."""
    import fcntl  # not on every system

    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = folder.with_suffix(".lock").open("w")
    except OSError as error:
        raise DeployError(f"cannot write {folder.parent}: {error.strerror}", _HELPS) from None
    with file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                await asyncio.sleep(0.2)
        yield


async def _install(dialect: Dialect, folder: Path, settings: Settings) -> None:
    """What was begun before is begun again. Raises DeployError with the installer's last line."""
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    wanted = f"{dialect.package}=={dialect.version}"
    python = str(folder / "bin" / "python")
    links = [word for each in settings.install.find_links for word in ("--find-links", each)]
    for each in settings.install.extra_index_url:
        links += ["--extra-index-url", each]
    uv = shutil.which("uv") if settings.install.installer != "pip" else None
    if uv is not None:
        await _run([uv, "venv", "-q", "--python", sys.executable, str(folder)])
        await _run([uv, "pip", "install", "-q", "--python", python, *links, wanted])
    else:
        await _run([sys.executable, "-m", "venv", str(folder)])
        quiet = ["-q", "--disable-pip-version-check", "--no-input"]
        await _run([python, "-m", "pip", "install", *quiet, *links, wanted])


async def _run(command: Sequence[str]) -> None:
    nothing = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=nothing,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise DeployError(f"cannot run {command[0]}: {error.strerror}", _HELPS) from None
    try:
        output, _ = await process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        lines = output.decode(errors="replace").strip().splitlines()
        why = next((line for line in lines if "ERROR" in line.upper()), lines[-1] if lines else "")
        raise DeployError(
            f"the router cannot be installed: {one_line(why, 200) or 'no reason given'}", _HELPS
        )
