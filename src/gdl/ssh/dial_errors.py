"""Why a machine could not be connected to, in plain words."""

from __future__ import annotations

import socket

import asyncssh

from gdl.domain.errors import GdlError, SshAuthFailed, SshCut, SshError, UsageError
from gdl.domain.text import one_line


def explained(error: Exception, where: str) -> GdlError:
    """The error of a failed connection in our words; remote text in it is cleaned. where: how the
    machine is called."""
    detail = one_line(str(getattr(error, "reason", "") or error), 200)
    if isinstance(error, asyncssh.PermissionDenied) or "authentication failures" in detail:
        return SshAuthFailed(
            f"{where} does not accept the key",
            "check user and key; on a new machine the key may take a minute to arrive",
        )
    if isinstance(error, asyncssh.ConfigParseError):
        return UsageError(f"~/.ssh/config: {detail}", "correct the line it names")
    if isinstance(error, (asyncssh.KeyImportError, asyncssh.KeyEncryptionError)):
        return UsageError(f"a key for {where} cannot be used: {detail}", "check the key files")
    if isinstance(error, (ConnectionResetError, asyncssh.ConnectionLost, BrokenPipeError)):
        why = getattr(error, "strerror", None) or detail or "connection lost"
        return SshCut(
            f"the SSH connection to {where} failed: {why}", "check the address and the network"
        )
    if isinstance(error, ConnectionRefusedError):
        return SshError(
            f"{where} refuses the connection", "check the port; a new machine may still be booting"
        )
    if isinstance(error, socket.gaierror):
        return SshError(f"no such host: {where}", "check the spelling and the network")
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return SshError(f"the host key of {where} cannot be checked: {detail}", "it is not trusted")
    if isinstance(error, OSError) and not isinstance(error, asyncssh.Error):
        text = error.strerror or detail or type(error).__name__
        return SshError(f"cannot connect to {where}: {text}", "check the address and the network")
    return SshError(
        f"the SSH connection to {where} failed: {detail or type(error).__name__}",
        "check that an SSH server listens there, then try again",
    )
