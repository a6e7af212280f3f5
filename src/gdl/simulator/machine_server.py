"""The SSH server of one simulated machine."""

from __future__ import annotations

import re
from typing import Any

from gdl.sshd.server import LocalServer

_IN_TMP = re.compile(r"(?<=\s)/tmp/(?=[\w.-]+(?:[\s;'\"]|\Z))")
"""Where a word of a command begins that names a file in that very folder, such as an engine's log.
Deeper ones are left alone: the machine itself may be there."""


class MachineServer(LocalServer):
    """A machine has a /tmp of its own, which is the TMPDIR of its environment: the machines of one
    computer would meet in the computer's. Holds for commands, not for terminals and SFTP."""

    def _command_line(self, process: Any) -> list[str]:
        # The shell that evaluates such a word puts the folder there, however deep it is quoted.
        return [_IN_TMP.sub('"$TMPDIR"/', word) for word in super()._command_line(process)]
