"""Rented machines as the stand-in for Vast.ai tells them."""

from __future__ import annotations

from datetime import UTC, datetime

from gdl.simulator import fault_models
from gdl.simulator.contracts import Contract, State
from gdl.simulator.vastai.hosts import Host
from gdl.simulator.wire_format import Json

_STARTED = (State.RUNNING, State.FROZEN)


def row(contract: Contract, host: Host) -> Json:
    """One instance, every field of it."""
    offered = host.row(contract.disk_gb, "bid" if contract.bid is not None else "on-demand", True)
    kept = (
        *("machine_id", "host_id", "num_gpus", "gpu_name", "gpu_ram", "gpu_total_ram", "gpu_arch"),
        *("cpu_cores", "cpu_cores_effective", "cpu_ram", "cpu_name", "cuda_max_good", "inet_up"),
        *("inet_down", "inet_up_cost", "inet_down_cost", "driver_version", "storage_cost"),
        *("reliability2", "geolocation", "verification", "hosting_type", "disk_name", "is_bid"),
    )
    told = contract.direct is not None
    direct = contract.direct or ("", 0)
    actual = None if contract.state is State.CREATED and not contract.message else contract.state
    stopped = contract.wanted == "stopped"
    states = {
        "actual_status": actual,
        "intended_status": contract.wanted,
        "cur_state": "stopped" if stopped else "running",
        "next_state": "stopped" if stopped else "running",
        "status_msg": contract.message or None,
    }
    began = contract.started
    now = datetime.now(UTC)
    found: Json = {
        "id": int(contract.id),
        **{name: offered[name] for name in kept},
        **states,
        "label": contract.label or None,
        "image_uuid": contract.values.get("image"),
        "image_runtype": contract.values.get("runtype"),
        "image_args": None,
        "onstart": contract.values.get("onstart"),
        "extra_env": contract.values.get("env") or [],
        "template_hash_id": contract.values.get("template_hash_id"),
        "disk_space": contract.disk_gb,
        "disk_usage": 2.1 if contract.state in _STARTED else -1.0,
        "dph_base": contract.gpu_price,
        "dph_total": contract.gpu_price + contract.disk_price,
        "storage_total_cost": contract.disk_price,
        "min_bid": host.min_bid,
        "is_bid": contract.bid is not None,
        "public_ipaddr": direct[0] if told else None,
        "ports": _ports(contract) if told else None,
        "ssh_host": contract.proxy[0] if contract.proxy else None,
        "ssh_port": contract.proxy[1] if contract.proxy else None,
        "ssh_idx": "4",
        "direct_port_start": -1,
        "direct_port_end": -1,
        "local_ipaddrs": None,
        "start_date": (contract.made if began is None else began).timestamp()
        if actual is not None
        else None,
        "end_date": offered["end_date"],
        "duration": offered["duration"],
        "uptime_mins": (now - began).total_seconds() / 60 if began else None,
        "gpu_util": 0.0 if contract.state is State.RUNNING else None,
        "gpu_temp": 41.0 if contract.state is State.RUNNING else None,
        "cpu_util": 0.02,
        "mem_usage": 0.4,
        "mem_limit": 32.0,
        "jupyter_token": "",
    }
    misreported = contract.faults.first(fault_models.Misreported)
    return found | dict(misreported.fields if misreported else {})


def _ports(contract: Contract) -> Json | None:
    if contract.direct is None or contract.state not in _STARTED:
        return None
    return {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(contract.direct[1])}]}  # noqa: S104
