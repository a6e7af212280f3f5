"""Where one simulated market runs: its HTTP server, and the folder of its machines."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from starlette.applications import Starlette

from gdl.domain.errors import BackendError
from gdl.domain.text import one_line
from gdl.simulator import workspace as ws
from gdl.simulator.loopback_server import LoopbackServer


class MarketServer:
    """root: the folder in which simulated markets have theirs; None: no machine runs here."""

    def __init__(self, root: Path | None) -> None:
        self._workspace = ws.Workspace(root) if root is not None else None
        self._http = LoopbackServer()
        self.cut = self._http.cut

    @property
    def url(self) -> str:
        return self._http.url

    @property
    def workspace(self) -> ws.Workspace:
        """Only where there is a root."""
        assert self._workspace is not None, "neither a folder for machines nor a host"
        return self._workspace

    async def start(
        self, app: Starlette, port: int = 0, listener: socket.socket | None = None
    ) -> str:
        """Listen, at a socket that has its address already or at this port, and say where. Raises
        BackendError when the port or the folder cannot be had."""
        space = self._workspace
        try:
            if space is not None:
                await ws.sweep(space.root)
                await asyncio.to_thread(space.make)
            self._http.listen(port, listener)
        except OSError as error:
            if space is not None:
                await asyncio.to_thread(space.remove)
            raise BackendError(
                f"the sandbox cannot be started: {one_line(error.strerror or error)}",
                f"choose another port than {port}" if port else "check the data folder",
            ) from None
        await self._http.serve(app)
        return self.url

    async def aclose(self) -> None:
        """Once all machines have ended: nobody is answered any more, and the folder is gone.
        Idempotent."""
        await self._http.aclose()
        if self._workspace is not None:
            await asyncio.to_thread(self._workspace.remove)
