"""Files on the machine: over SFTP, or over plain commands where SFTP is refused."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import secrets
import shlex
from collections.abc import Awaitable
from typing import cast

import asyncssh

from gdl.domain.errors import CommandTimeout, SshError
from gdl.domain.text import one_line
from gdl.ssh.commands import Executor
from gdl.ssh.opening import opened
from gdl.ssh.output import Bounded
from gdl.ssh.remote_path import as_argument, plain

_SFTP_START_S = 8.0
"""A login script that prints breaks SFTP without an error; after this long it is given up."""

_CALL_S = 60.0


class RemoteFiles:
    """Puts and reads files. Paths are absolute, relative to the home folder, or begin with `~/`."""

    def __init__(self, conn: asyncssh.SSHClientConnection, executor: Executor, label: str) -> None:
        self._conn = conn
        self._executor = executor
        self._label = label
        self._sftp: asyncssh.SFTPClient | None = None
        self._refused = False
        self._starting = asyncio.Lock()

    async def put(self, path: str, data: bytes, mode: int) -> None:
        """Write the whole file: readable by its owner alone from the first byte on, in place at
        once or not at all. The content is never part of an argument."""
        path = plain(path)
        folder, name = posixpath.split(path)
        temporary = posixpath.join(folder, f".{name[:100]}.{secrets.token_hex(6)}")
        sftp = await self._client()
        if sftp is None:
            await self._put_by_command(path, temporary, data, mode)
            return
        try:
            async with asyncio.timeout(_CALL_S):
                await self._put_by_sftp(sftp, path, temporary, data, mode)
        except TimeoutError:
            raise self._stuck() from None
        except asyncssh.SFTPOpUnsupported:
            await self._put_by_command(path, temporary, data, mode)
        except asyncssh.SFTPError as error:
            raise self._failed(f"cannot write {path}", error) from None
        except (asyncssh.Error, OSError) as error:
            raise self._executor.connection_error(error) from None

    async def _put_by_sftp(
        self, sftp: asyncssh.SFTPClient, path: str, temporary: str, data: bytes, mode: int
    ) -> None:
        flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_EXCL
        attrs = asyncssh.SFTPAttrs(permissions=0o600)
        file = await sftp.open(temporary, flags, attrs, encoding=None)
        try:
            try:
                await file.write(data)
                if mode != 0o600:
                    await file.setstat(asyncssh.SFTPAttrs(permissions=mode))
            finally:
                await file.close()
            await sftp.posix_rename(temporary, path)
        except BaseException:
            if not self._conn.is_closed():
                await _quietly(sftp.remove(temporary))
            raise

    async def _put_by_command(self, path: str, temporary: str, data: bytes, mode: int) -> None:
        old, new = _word(temporary), _word(path)
        command = (
            f"umask 077; cat > {old} && chmod {mode:04o} {old} && mv -f {old} {new} "
            f"|| {{ rm -f {old}; exit 1; }}"
        )
        errors = Bounded()
        status = await self._executor.execute(
            command, lambda piece, _: errors.add(piece), timeout=_CALL_S, input=data
        )
        if status != 0:
            detail = one_line(errors.value().decode("utf-8", "replace"), 200)
            raise SshError(
                f"cannot write {one_line(path, 200)} on {self._label}: {detail}",
                "check permissions and free space on the machine",
            )

    async def read_at(self, path: str, offset: int, limit: int) -> tuple[bytes, int]:
        """At most `limit` bytes from `offset` on, and the file's size now; (b"", 0) when there
        is no such file. An offset beyond the end gives no bytes, and the size."""
        path = plain(path)
        sftp = await self._client()
        if sftp is None:
            return await self._read_by_command(path, offset, limit)
        try:
            async with asyncio.timeout(_CALL_S):
                return await self._read_by_sftp(sftp, path, offset, limit)
        except TimeoutError:
            raise self._stuck() from None
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            return b"", 0
        except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection) as error:
            self._sftp = None
            raise self._executor.connection_error(error) from None
        except asyncssh.SFTPError as error:
            raise self._failed(f"cannot read {path}", error) from None
        except (asyncssh.Error, OSError) as error:
            raise self._executor.connection_error(error) from None

    @staticmethod
    async def _read_by_sftp(
        sftp: asyncssh.SFTPClient, path: str, offset: int, limit: int
    ) -> tuple[bytes, int]:
        size = (await sftp.stat(path)).size or 0
        if size <= offset or limit <= 0:
            return b"", size
        async with await sftp.open(path, asyncssh.FXF_READ, encoding=None) as file:
            # Opened without an encoding, it gives bytes.
            data = cast(bytes, await file.read(min(limit, size - offset), offset))
        return data, max(size, offset + len(data))

    async def _read_by_command(self, path: str, offset: int, limit: int) -> tuple[bytes, int]:
        file = _word(path)
        command = (
            f"[ -e {file} ] || {{ echo -1; exit 0; }}; "
            f"size=$(wc -c < {file}) || exit 1; echo $size; "
            f'if [ "$size" -gt {offset} ]; then tail -c +{offset + 1} < {file} '
            f"| head -c {limit}; fi"
        )
        out, errors = Bounded(), Bounded()
        status = await self._executor.execute(
            command, lambda piece, bad: (errors if bad else out).add(piece), timeout=_CALL_S
        )
        head, _, data = out.value().partition(b"\n")
        if status != 0 or not head.strip().lstrip(b"-").isdigit():
            detail = one_line(errors.value().decode("utf-8", "replace"), 200)
            raise SshError(
                f"cannot read {one_line(path, 200)} on {self._label}: {detail}",
                "check its permissions",
            )
        size = int(head)
        return (b"", 0) if size < 0 else (data, max(size, offset + len(data) if data else 0))

    async def warm(self) -> bool:
        """Open the SFTP session, which stays open; False where there is none."""
        return await self._client() is not None

    async def _client(self) -> asyncssh.SFTPClient | None:
        if self._sftp is not None or self._refused:
            return self._sftp
        async with self._starting:
            if self._sftp is None and not self._refused:
                try:
                    async with asyncio.timeout(_SFTP_START_S):
                        self._sftp = await self._start()
                except (asyncssh.Error, OSError, TimeoutError, ValueError) as error:
                    if self._conn.is_closed():
                        raise self._executor.connection_error(error) from None
                    self._refused = True
            return self._sftp

    async def _start(self) -> asyncssh.SFTPClient:
        if self._executor.short_of_sessions:
            raise ValueError("all of them are for commands")
        try:
            return await opened(self._conn.start_sftp_client(), lambda late: late.exit())
        except asyncssh.ChannelOpenError:
            self._executor.spare_sessions()
            raise

    def _failed(self, what: str, error: asyncssh.SFTPError) -> SshError:
        if self._conn.is_closed():
            return self._executor.connection_error(error)
        detail = one_line(error.reason, 200) or type(error).__name__
        return SshError(
            f"{one_line(what, 200)} on {self._label}: {detail}",
            "check permissions and free space on the machine",
        )

    def _stuck(self) -> CommandTimeout:
        return CommandTimeout(f"no answer from {self._label} about a file", "try again")

    def close(self) -> None:
        if self._sftp is not None:
            self._sftp.exit()
            self._sftp = None


def _word(path: str) -> str:
    """The same as one shell word."""
    return shlex.quote(as_argument(path))


async def _quietly(call: Awaitable[None]) -> None:
    with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
        async with asyncio.timeout(2.0):
            await call
