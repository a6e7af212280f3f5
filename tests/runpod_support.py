"""RunPod's interface, scripted, without a network: what a test says is what is answered.

runpod = FakeRunpod(tmp_path)
runpod.next("POST", "/v2/pods", Lost())
backend = runpod.backend()
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from gdl.backends.runpod.backend import RunpodBackend
from gdl.backends.runpod.keys import FoundKey
from gdl.domain.secret import Secret
from gdl.settings import Runpod, Settings

KEY = "rpa_TESTKEY0123456789"
CONSUMER = "me"
URL = "http://runpod.test"

Scripted = Callable[[httpx.Request], httpx.Response]


def gpu_row(
    ident: str = "NVIDIA GeForce RTX 4090",
    name: str | None = "RTX 4090",
    *,
    memory: Any = 24,
    secure: Any = 0.69,
    community: Any = 0.34,
    most: int = 8,
    **changes: Any,
) -> dict[str, Any]:
    """A kind of GPU; secure, community: its prices there, None where it is not to be had."""
    return {
        "id": ident,
        "name": name,
        "pool": "ADA_24",
        "manufacturer": "NVIDIA",
        "memory": memory,
        "secure": secure is not None,
        "community": community is not None,
        # The catalogue fills in prices for clouds that do not have the kind.
        "price": {"secure": secure or 0.5, "community": community or 0.4, "serverless": 1.1},
        "maxCount": {"secure": most, "community": most},
        "availability": "HIGH",
        "dataCenters": [
            {"id": "EU-RO-1", "name": "EU Romania 1", "availability": "LOW"},
            {"id": "US-KS-2", "name": "US Kansas 2", "availability": "HIGH"},
            {"id": "US-TX-1", "name": "US Texas 1", "availability": "NONE"},
        ],
        "cudaVersions": [
            {"version": "12.4", "available": True},
            {"version": "12.8", "available": True},
            {"version": "13.0", "available": False},
        ],
        **changes,
    }


def pod_row(ident: str = "7h9k2m4n6p", **changes: Any) -> dict[str, Any]:
    return {
        "id": ident,
        "name": "gdl-one",
        "status": "RUNNING",
        "actions": ["stop", "restart", "terminate"],
        "image": "ubuntu:24.04",
        "args": "",
        "disk": 50,
        "ports": ["22/tcp"],
        "env": {"GDL_CONSUMER": CONSUMER, "PUBLIC_KEY": "ssh-ed25519 AAAA"},
        "registry": None,
        "mounts": {},
        "gpu": {"id": "NVIDIA GeForce RTX 4090", "count": 1, "vcpuCount": 16, "memory": 64},
        "cloud": "SECURE",
        "dataCenterId": "US-KS-2",
        "cudaVersion": "12.8",
        "ssh": {
            "proxy": {"host": "ssh.runpod.io", "port": 22, "username": f"{ident}-1", "command": ""},
            "direct": {"host": "195.26.233.3", "port": 34446, "username": "root", "command": ""},
        },
        "template": None,
        "cost": 0.69,
        "locked": False,
        "globalNetworking": {"enabled": False},
        "runtime": None,
        "createdAt": "2026-11-28T12:00:00Z",
        "startedAt": None,
        **changes,
    }


def problem(status: int, detail: str, *errors: str, **headers: str) -> Scripted:
    """An error as RunPod words it."""
    said: dict[str, Any] = {"title": "Problem", "status": status, "detail": detail}
    if errors:
        said["errors"] = list(errors)
    headers["content-type"] = "application/problem+json"
    return lambda request: httpx.Response(status, headers=headers, content=json.dumps(said))


def answer(status: int, body: Any = None, *, text: str | None = None, **headers: str) -> Scripted:
    if text is not None:
        return lambda request: httpx.Response(status, text=text, headers=headers)
    return lambda request: httpx.Response(status, json=body, headers=headers)


def cut(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("connection reset", request=request)


def unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


@dataclass
class FakeRunpod:
    """data_dir: of the backends that ask it. gpus: the catalogue. pods, volumes: by id. page: rows
    on a page of a list. everything: what all requests are answered with."""

    data_dir: Path
    gpus: list[Any] = field(default_factory=lambda: [gpu_row()])
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    volumes: dict[str, dict[str, Any]] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    page: int = 2
    everything: Scripted | None = None
    received: list[httpx.Request] = field(default_factory=list)
    _scripted: dict[tuple[str, str], list[Scripted]] = field(default_factory=dict)
    _keys: set[str] = field(default_factory=set)
    _ids: Any = field(default_factory=lambda: itertools.count(1))

    def backend(self, key: str = KEY) -> RunpodBackend:
        """key: another one of an account, perhaps another account's."""
        self._keys.add(key)
        settings = Settings(runpod=Runpod(url=URL, key=SecretStr(key)), data_dir=self.data_dir)
        found = FoundKey(Secret(key), "the settings")
        return RunpodBackend(settings, CONSUMER, found, transport=httpx.MockTransport(self._answer))

    def next(self, method: str, path: str, *answers: Scripted, made: bool = False) -> None:
        """What the next requests of that kind are answered with. made: they are acted upon all the
        same."""

        def acted(said: Scripted) -> Scripted:
            def both(request: httpx.Request) -> httpx.Response:
                self._act(request)
                return said(request)

            return both

        queue = self._scripted.setdefault((method, path), [])
        queue += [acted(said) if made else said for said in answers]

    def asked(self, method: str, path: str) -> list[httpx.Request]:
        return [r for r in self.received if r.method == method and r.url.path == path]

    @property
    def rent_body(self) -> dict[str, Any]:
        """Of the only rent request there was."""
        (request,) = self.asked("POST", "/v2/pods")
        body = json.loads(request.content)
        assert isinstance(body, dict)
        return body

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.received.append(request)
        if self.everything is not None:
            return self.everything(request)
        if request.headers.get("authorization") not in {f"Bearer {key}" for key in self._keys}:
            return problem(401, "missing bearer token")(request)
        queue = self._scripted.get((request.method, request.url.path))
        return queue.pop(0)(request) if queue else self._act(request)

    def _act(self, request: httpx.Request) -> httpx.Response:
        match request.method, request.url.path.removeprefix("/v2").split("/")[1:]:
            case "GET", ["catalog", "gpus"]:
                return httpx.Response(200, json={"gpus": self.gpus})
            case "GET", ["catalog", "datacenters"]:
                having = {"networkVolumeTypes": ["STANDARD"]}
                rows = [{"id": "EU-RO-1", **having}, {"id": "US-TX-1", **having}, {"id": "US-KS-2"}]
                return httpx.Response(200, json={"dataCenters": rows})
            case "GET", ["billing", "pods"]:
                return httpx.Response(200, json={"records": self.records, "metadata": {}})
            case "GET", ["pods"]:
                return self._page(request, "pods", list(self.pods.values()))
            case "GET", ["network-volumes"]:
                return self._page(request, "networkVolumes", list(self.volumes.values()))
            case "POST", ["pods"]:
                asked = json.loads(request.content)
                ident = f"pod{next(self._ids)}"
                made = {"name": asked["name"], "env": asked["env"], "disk": asked["disk"]}
                ssh = {"proxy": None, "direct": None}
                self.pods[ident] = pod_row(ident, status="PROVISIONING", ssh=ssh, **made)
                return httpx.Response(201, json=self.pods[ident])
            case "POST", ["network-volumes"]:
                ident = f"vol{next(self._ids)}"
                self.volumes[ident] = {**json.loads(request.content), "id": ident}
                return httpx.Response(201, json=self.volumes[ident])
            case method, [kind, ident]:
                table = self.pods if kind == "pods" else self.volumes
                if ident not in table:
                    return problem(404, "resource not found")(request)
                if method == "DELETE":
                    del table[ident]
                    return httpx.Response(204)
                return httpx.Response(200, json=table[ident])
        return problem(405, "The requested method is not allowed for this path.")(request)

    def _page(self, request: httpx.Request, name: str, rows: list[Any]) -> httpx.Response:
        start = int(request.url.params.get("cursor", "0"))
        end = start + self.page
        more = end < len(rows)
        pagination = {"nextCursor": str(end) if more else None, "hasNextPage": more}
        return httpx.Response(200, json={name: rows[start:end], "pagination": pagination})
