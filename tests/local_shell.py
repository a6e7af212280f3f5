"""A CommandRunner over this computer's own shell, for the tests of the probes."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path

from gdl.domain.errors import CommandTimeout
from gdl.domain.host import CommandResult


@dataclass
class Shell:
    """Runs commands with /bin/sh. path: the only folder in PATH, if given. `commands` keeps what
    was run and `inputs` what was given on standard input."""

    path: Path | None = None
    commands: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)

    async def run(
        self, command: str, *, timeout: float = 30.0, input: str | None = None
    ) -> CommandResult:
        self.commands.append(command)
        self.inputs.append(input or "")
        env = dict(os.environ, PATH=str(self.path)) if self.path else None
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
        )
        try:
            async with asyncio.timeout(timeout):
                out, err = await process.communicate((input or "").encode())
        except TimeoutError:
            raise CommandTimeout(f"no end within {timeout:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        status = process.returncode
        assert status is not None
        return CommandResult(status, out.decode(errors="replace"), err.decode(errors="replace"))


def put_script(folder: Path, name: str, text: str) -> None:
    """An executable shell script in `folder`."""
    script = folder / name
    assert not script.is_symlink(), "it would be written over what it leads to"
    script.write_text("#!/bin/sh\n" + text)
    script.chmod(0o755)
