"""The engine of the simulated vLLM server as a process of its own, which may be killed, or left
behind by its server.

Log lines are worded as by vLLM 0.32.
Standard library only: it runs on the simulated machine.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any, NoReturn

from .vllm_host import Host

STARTING, LOADING, SERVING = "starting", "loading", "serving"
_FREES_S = 0.4
"""The driver takes a moment until a process's memory is free."""


def _say(text: str, place: str) -> None:
    stamp = time.strftime("%m-%d %H:%M:%S")
    print(f"(APIServer pid={os.getpid()}) ERROR {stamp} [{place}] {text}", flush=True)


class EngineFault:
    """What a fault does to the engine: `killed` (the server ends by itself soon after) or
    `orphaned` (a signal ends the server alone). It happens in the fault's phase."""

    def __init__(self, fault: dict[str, Any], host: Host) -> None:
        self._fault = fault
        self._host = host
        self._what: str = fault.get("at", "")
        self._phase: str = fault.get("phase", SERVING)

    @property
    def wanted(self) -> bool:
        return self._what in {"killed", "orphaned"}

    @property
    def after_s(self) -> float:
        return float(self._fault["after"])

    @property
    def kills(self) -> bool:
        return self._what == "killed"

    def begin(self, memory_mib: int) -> None:
        """The engine as a process that holds the GPU's memory, and outlives its server."""
        if self._what != "orphaned":
            return
        self._host.mark("memory", f"{memory_mib}\n")
        if os.fork() == 0:
            _engine(self._host)

    def now(self, phase: str) -> None:
        """Ends the process when this is the phase, before the server serves."""
        if not self.wanted or phase != self._phase:
            return
        time.sleep(self.after_s)
        if self.kills:
            self._start_fails()
        self.orphan()

    def at_work(self) -> bool:
        """Whether it happens while the server serves."""
        return self.wanted and self._phase == SERVING

    def orphan(self) -> NoReturn:
        """The server is ended by a signal, and the engine is not."""
        self._host.failed_once()
        status = int(self._fault["status"])
        os.kill(os.getpid(), status - 128 if status > 128 else signal.SIGKILL)
        raise AssertionError

    def _start_fails(self) -> NoReturn:
        self._host.failed_once()
        self._host.forget("memory")
        print("(APIServer) Traceback (most recent call last):", flush=True)
        print(
            f"(APIServer pid={os.getpid()}) RuntimeError: Engine core initialization failed. See "
            "root cause above. Failed core proc(s): {'EngineCore_DP0': -9}",
            flush=True,
        )
        os._exit(1)

    def dies_at_work(self) -> None:
        """What the server says of an engine that is gone."""
        self._host.failed_once()
        self._host.forget("memory")
        _say(
            "[shutdown] MPClient: engine core exited unexpectedly; starting cleanup",
            "core_client.py:817",
        )
        _say("AsyncLLM output_handler failed.", "async_llm.py:708")
        _say(
            "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See "
            "stack trace (above) for the root cause.",
            "async_llm.py:708",
        )


def _engine(host: Host) -> NoReturn:
    """The engine, until it is told to end or the machine is gone. It does not miss its server."""

    def end(*_: object) -> NoReturn:
        time.sleep(_FREES_S)
        host.forget("memory")
        os._exit(0)

    os.closerange(3, 256)  # the server's port is not the engine's
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    while host.owner_lives():
        time.sleep(0.2)
    os._exit(0)
