"""How each router program is started, and told of replicas."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gdl.domain.backoff import Backoff
from gdl.domain.errors import DeployError
from gdl.domain.fleet_router import CHECKS, RELEASES
from gdl.domain.text import one_line
from gdl.keyring.key_files import read_key

if TYPE_CHECKING:
    import httpx

_TAKEN_S = 10.0


class Dialect(Protocol):
    """package, version: of the package index. program: its command there."""

    package: str
    version: str
    program: str

    def command(
        self, program: Path, port: int, metrics_port: int, policy: str, key_file: Path
    ) -> list[str]:
        """The words that start it. Never a secret among them."""
        ...

    async def add(self, http: httpx.AsyncClient, url: str, key_file: Path) -> None:
        """Raises DeployError when it is not taken, httpx.HTTPError."""
        ...

    async def remove(self, http: httpx.AsyncClient, url: str, key_file: Path) -> None: ...


class VllmRouter:
    """The vLLM project's own. Its management asks for no key, so that it listens on loopback."""

    package = "vllm-router"
    version = RELEASES["vllm-router"]
    program = "vllm-router"

    def command(
        self, program: Path, port: int, metrics_port: int, policy: str, key_file: Path
    ) -> list[str]:
        return [
            *(str(program), "--host", "127.0.0.1", "--port", str(port)),
            *("--policy", policy, *CHECKS),
            *("--worker-startup-timeout-secs", "10", "--worker-startup-check-interval", "1"),
            *("--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics_port)),
            *("--log-level", "warning"),
        ]

    async def add(self, http: httpx.AsyncClient, url: str, key_file: Path) -> None:
        response = await http.post("/add_worker", params={"url": url})
        known = response.status_code == 400 and "already exists" in response.text
        if response.status_code != 200 and not known:
            raise _not_taken(response)

    async def remove(self, http: httpx.AsyncClient, url: str, key_file: Path) -> None:
        response = await http.post("/remove_worker", params={"url": url})
        if response.status_code not in (200, 404):
            raise _not_taken(response)


_SMG = (
    "import sys\n"
    "with open(sys.argv.pop(1), encoding='utf-8') as file:\n"
    "    sys.argv += ['--api-key', file.read().strip()]\n"
    "from {module} import main\n"
    "sys.exit(main())\n"
)
"""Gives it its key without a word on the command line, where everybody could read it."""


class Smg:
    """The gateway that dstack uses. It adds replicas in the background, also those that never
    answer, and sends each the key that it was told: its own key is what clients must know."""

    package = "smg"
    version = RELEASES["smg"]
    program = "smg"

    def command(
        self, program: Path, port: int, metrics_port: int, policy: str, key_file: Path
    ) -> list[str]:
        python = program.with_name("python")
        return [
            *(str(python), "-c", _SMG.format(module="smg.cli"), str(key_file), "launch"),
            *("--enable-igw", "--backend", "vllm", "--policy", policy, *CHECKS),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics_port)),
            *("--log-level", "warn"),
        ]

    async def add(self, http: httpx.AsyncClient, url: str, key_file: Path) -> None:
        key = (await asyncio.to_thread(read_key, key_file)).reveal()
        known = {"Authorization": f"Bearer {key}"}
        body = {"url": url, "api_key": key, "runtime_type": "vllm"}
        response = await http.post("/workers", json=body, headers=known)
        if response.status_code not in (200, 201, 202, 409):
            raise _not_taken(response)
        async with asyncio.timeout(_TAKEN_S):
            for pause in Backoff(0.05, 0.5):
                if url in await self._workers(http, known):
                    return
                await asyncio.sleep(pause)

    async def remove(self, http: httpx.AsyncClient, url: str, key_file: Path) -> None:
        key = (await asyncio.to_thread(read_key, key_file)).reveal()
        known = {"Authorization": f"Bearer {key}"}
        worker = (await self._workers(http, known)).get(url)
        if worker is None:
            return
        response = await http.delete(f"/workers/{worker}", headers=known)
        if response.status_code not in (200, 202, 204, 404):
            raise _not_taken(response)

    @staticmethod
    async def _workers(http: httpx.AsyncClient, known: dict[str, str]) -> dict[str, str]:
        """Ids by address."""
        response = await http.get("/workers", headers=known)
        if response.status_code != 200:
            raise _not_taken(response)
        found: dict[str, str] = {}
        for each in response.json().get("workers", []):
            if isinstance(each, dict):
                found[str(each.get("url", "")).rstrip("/")] = str(each.get("id", ""))
        return found


def _not_taken(response: httpx.Response) -> DeployError:
    said = one_line(response.text, 200)
    return DeployError(f"the router answers HTTP {response.status_code}: {said}", "see its log")


DIALECTS: dict[str, Dialect] = {"vllm-router": VllmRouter(), "smg": Smg()}
"""By the names of `gdl.domain.fleet_spec.ROUTERS`."""
