"""The SSH server of one simulated machine."""

from __future__ import annotations

import re
from typing import Any

from gdl.sshd.server import LocalServer

_SHELL = re.compile(r"(?<![\w/])/bin/sh(?= -c )")
_OWN = '"$SIM_ROOT"/../programs/shell'


class MachineServer(LocalServer):
    """A machine has a /tmp of its own, which is the TMPDIR of its environment: the machines of one
    computer would meet in the computer's. It is its shell that knows (programs/shell); holds for
    commands, also for those that a shell is given when it runs already, not for SFTP and for what
    is typed at a terminal."""

    def _command_line(self, process: Any) -> list[str]:
        shell, *words = super()._command_line(process)
        if not words:
            return [shell]
        option, command = words
        # A shell begins the first of its own, as it knows where the machine's programs are.
        return [shell, option, f'exec {_OWN} -c "$1"', shell, _SHELL.sub(_OWN, command)]
