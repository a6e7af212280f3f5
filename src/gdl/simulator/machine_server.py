"""The SSH server of one simulated machine."""

from __future__ import annotations

import re
from typing import Any

from gdl.sshd.server import LocalServer

_IN_TMP = re.compile(r"(?<=\s)/tmp/(?=[\w.-]+(?:[\s;'\"]|\Z))")
"""Where a word of a command begins that names a file in that very folder, such as an engine's log.
Deeper ones are left alone: the machine itself may be there."""
_SHELL = re.compile(r"(?<![\w/])/bin/sh(?= -c )")


class MachineServer(LocalServer):
    """A machine has a /tmp of its own, which is the TMPDIR of its environment: the machines of one
    computer would meet in the computer's. Holds for commands, also for those that a shell is given
    when it runs already (programs/shell), not for terminals and SFTP."""

    def _command_line(self, process: Any) -> list[str]:
        shell, *words = super()._command_line(process)
        return [shell, *(_with_own_tmp(word) for word in words)]


def _with_own_tmp(command: str) -> str:
    # The shell that evaluates such a word puts the folder there, however deep it is quoted.
    command = _IN_TMP.sub('"$TMPDIR"/', command)
    return _SHELL.sub('"$SIM_ROOT"/../programs/shell', command)
