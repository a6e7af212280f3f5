"""The few GraphQL queries that RunPod's own package sends (1.12.0). Whatever fields are asked for,
all are told."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from gdl.simulator.contracts import Account, Contract
from gdl.simulator.runpod.errors import Problem
from gdl.simulator.runpod.market import RunpodMarket
from gdl.simulator.runpod.pods import status
from gdl.simulator.wire_format import Json

_POD_ID = re.compile(r'podId:\s*"([^"]+)"')
_FIELD = re.compile(r'(\w+):\s*(?:"([^"]*)"|([A-Za-z0-9_.]+))')
_ENV = re.compile(r'\{\s*key:\s*"([^"]+)",\s*value:\s*"([^"]*)"\s*\}')


async def answer(market: RunpodMarket, account: Account, query: str, own: str) -> Json:
    """own: the pod whose own key asks, which may stop and terminate itself alone. Raises
    Problem."""
    named = _POD_ID.search(query)
    ident = named.group(1) if named else ""
    if own and own != ident:
        raise Problem(403, "This key is for one pod alone.")
    if "podTerminate" in query:
        market.destroy(account, ident)
        return {"podTerminate": None}
    if "podStop" in query:
        await market.hosting.stop(market.found(account, ident))
        return {"podStop": {"id": ident, "desiredStatus": "EXITED"}}
    if "podFindAndDeployOnDemand" in query:
        made = await market.create(account, _request(query))
        return {"podFindAndDeployOnDemand": _pod(market.found(account, made["id"]))}
    if "gpuTypes" in query:
        return {"gpuTypes": _gpu_types(market, query)}
    if "pod(" in query:
        contract = market.hosting.find(account, ident)
        return {"pod": _pod(contract) if contract is not None else None}
    if "myself" in query:
        return {"myself": _myself(market, account)}
    raise Problem(400, "Cannot query this field.")


def _myself(market: RunpodMarket, account: Account) -> Json:
    left = account.credit - market.hosting.spent(account)
    return {
        "id": f"user_{account.id}",
        "pubKey": "\n".join(account.public_keys),
        "clientBalance": left,
        "currentSpendPerHr": sum(one.gpu_price for one in market.hosting.of(account) if one.gpu.on),
        "pods": [_pod(one) for one in market.hosting.of(account)],
        "networkVolumes": [
            {"id": one.id, "name": one.name, "size": one.size_gb, "dataCenterId": one.center}
            for one in market.volumes.values()
            if one.account is account
        ],
    }


def _pod(contract: Contract) -> Json:
    now = datetime.now(UTC)
    running = status(contract) == "RUNNING"
    ports = []
    if running and contract.direct is not None:
        host, port = contract.direct
        ports = [
            {"ip": host, "isIpPublic": True, "privatePort": 22, "publicPort": port, "type": "tcp"}
        ]
    env = contract.values.get("env")
    return {
        "id": contract.id,
        "name": contract.label,
        "imageName": contract.values.get("image"),
        "containerDiskInGb": contract.disk_gb,
        "costPerHr": contract.gpu_price,
        # The wish alone, whatever has become of it.
        "desiredStatus": "EXITED" if contract.wanted == "stopped" else "RUNNING",
        "dockerArgs": "",
        "dockerId": None,
        "env": [f"{k}={v}" for k, v in env.items()] if isinstance(env, dict) else [],
        "gpuCount": contract.offer.count,
        "lastStatusChange": "",
        "machineId": str(contract.offer.machine),
        "machine": {
            "gpuDisplayName": contract.offer.gpu.name,
            "podHostId": f"{contract.id}-64410d22",
        },
        "memoryInGb": 48,
        "podType": "RESERVED",
        "port": None,
        "ports": ",".join(str(one) for one in _list(contract.values.get("ports"))),
        "uptimeSeconds": int((now - contract.started).total_seconds()) if contract.started else 0,
        "vcpuCount": 8,
        "volumeInGb": 0,
        "volumeMountPath": "/workspace",
        "runtime": {"ports": ports} if running else None,
    }


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []


def _gpu_types(market: RunpodMarket, query: str) -> list[Json]:
    wanted = re.search(r'id:\s*"([^"]+)"', query)
    rows = market.catalog.show("SECURE", 1, "", "")["gpus"]
    return [
        {
            "id": row["id"],
            "displayName": row["name"],
            "memoryInGb": row["memory"],
            "manufacturer": "Nvidia",
            "maxGpuCount": row["maxCount"]["secure"],
            "cudaCores": 0,
            "secureCloud": row["secure"],
            "communityCloud": row["community"],
            "securePrice": row["price"]["secure"],
            "communityPrice": row["price"]["community"],
            "lowestPrice": {
                "minimumBidPrice": row["price"]["community"] / 2,
                "uninterruptablePrice": row["price"]["community"],
            },
        }
        for row in rows
        if wanted is None or row["id"] == wanted.group(1)
    ]


def _request(query: str) -> Json:
    """The input of a deployment, as REST v2 words it."""
    found = {name: text or bare for name, text, bare in _FIELD.findall(query)}
    cloud = found.get("cloudType", "ALL")
    ports = [port for port in found.get("ports", "").split(",") if port]
    started = found.get("startSsh") == "true" and "22/tcp" not in ports
    return {
        "name": found.get("name", ""),
        "image": found.get("imageName", ""),
        "cloud": "SECURE" if cloud == "ALL" else cloud,
        "disk": int(found.get("containerDiskInGb", "20")),
        "ports": [*ports, *(["22/tcp"] if started else [])],
        "env": dict(_ENV.findall(query)),
        "gpu": {"id": found.get("gpuTypeId", ""), "count": int(found.get("gpuCount", "1"))},
    }
