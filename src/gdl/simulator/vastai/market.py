"""What the stand-in for Vast.ai does when it is asked. api.py asks, one method a request."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import asyncssh

from gdl.simulator import fault_models
from gdl.simulator.contracts import Account, Contract, State
from gdl.simulator.fault_draws import Draws
from gdl.simulator.hosting import DestroyRefused, Hosting
from gdl.simulator.vastai import instances, search
from gdl.simulator.vastai.errors import (
    VastRefusal,
    no_credit,
    no_such_ask,
    no_such_instance,
)
from gdl.simulator.vastai.hosts import Host
from gdl.simulator.vastai.offers import Offers
from gdl.simulator.wire_format import Json

_LONGEST_LABEL = 256
_LONGEST_ONSTART = 4048
_USUAL_DISK_GB = 10
_RUNTYPES = frozenset({"ssh_direc", "ssh_proxy", "jupyter_direc", "jupyter_proxy", "args", "ssh"})
_PUBLIC_KEY = re.compile(r"ssh-(?:ed25519|rsa) [A-Za-z0-9+/=]{60,}")
_MADE_FIRST = 20_000_000
_HOUR_S = 3600.0


class VastMarket:
    """Instances; `offers` are what there is to be rented."""

    def __init__(self, hosts: Sequence[Host], draws: Draws, hosting: Hosting) -> None:
        self.hosts = {host.ask_id: host for host in hosts}
        self._draws = draws
        self.hosting = hosting
        self.offers = Offers(self.hosts, draws, hosting)
        # Not from the seed: who keeps a journal must never meet the same id in two markets.
        self._next_id = _MADE_FIRST + random.SystemRandom().randrange(10_000_000)

    def host_of(self, contract: Contract) -> Host:
        return self.hosts[int(contract.offer.provider_id)]

    # -- renting ---------------------------------------------------------------------------------

    async def rent(self, account: Account, ask_id: int, body: Json) -> Json:
        """Raises VastRefusal. Whoever does not wait for the answer gets the machine, too."""
        _check(body)
        host = self.hosts.get(ask_id)
        if host is None:
            raise no_such_ask(ask_id)
        if account.credit - self.hosting.spent(account) <= 0:
            raise no_credit()
        faults = self._draws.of_session(host.listing)
        await self.hosting.pause(self.hosting.timing.create)
        price = body.get("price")
        if price is not None and price < host.min_bid:
            raise VastRefusal(
                400, "invalid_args", "error 400/3212: bid below the minimum", min_bid=host.min_bid
            )
        disk = float(body.get("disk") or _USUAL_DISK_GB)
        small = faults.first(fault_models.Disk)
        if disk > host.disk_space or (small is not None and disk < small.recommended_gb * 0.8):
            raise VastRefusal(
                400, "invalid_args", f"error 400/3402: disk {disk:g} GB cannot be had"
            )
        contract = self._contract(account, host, body, disk)
        contract.faults = faults
        stale = faults.first(fault_models.Stale)
        if stale is not None or self.hosting.taken(host.listing.id):
            self.offers.found_taken()
            if not body.get("cancel_unavail"):
                return self._stopped_instance(contract)
            raise _unavailable(ask_id, stale.form if stale else "503")
        refused = faults.first(fault_models.Refused)
        if refused is not None and not refused.made:
            raise VastRefusal(refused.status, "server_error", refused.error)
        slow = faults.first(fault_models.SlowCreate)
        if slow is not None:
            await self.hosting.pause(slow.after)
        self.hosting.add(contract)
        if refused is not None:
            # It exists, and bills, and the answer says that it went wrong.
            told: Json = {"success": False, "error": "server_error", "msg": refused.error}
            return {**told, "new_contract": int(contract.id)}
        return {
            "success": True,
            "new_contract": int(contract.id),
            "instance_api_key": contract.own_key,
        }

    def _stopped_instance(self, contract: Contract) -> Json:
        """What whoever did not rule it out gets in place of a machine that somebody else has."""
        contract.wanted, contract.state = "stopped", State.STOPPED
        contract.message = "The machine is in use by another client"
        self.hosting.add(contract)
        return {"success": True, "new_contract": int(contract.id)}

    def _contract(self, account: Account, host: Host, body: Json, disk: float) -> Contract:
        self._next_id += random.SystemRandom().randrange(1, 90)
        price = body.get("price")
        contract = Contract(
            str(self._next_id),
            account,
            host.listing,
            self._draws.of_offer(host.listing),
            str(body.get("label") or ""),
            max(round(disk), 1),
            # A bid offer without a price is rented on demand.
            host.price if price is None else float(price),
            host.disk_price(disk),
            None if price is None else float(price),
        )
        env = body.get("env")
        contract.values = {
            "image": body.get("image") or "vastai/base-image",
            "runtype": body.get("runtype") or "ssh",
            "onstart": body.get("onstart"),
            "env": [[str(k), str(v)] for k, v in env.items()] if isinstance(env, dict) else [],
            "template_hash_id": body.get("template_hash_id"),
            "volume_info": body.get("volume_info"),
        }
        for key in account.public_keys:
            contract.keys.append(asyncssh.import_public_key(key))
        contract.keys += _keys_within(str(body.get("onstart") or ""))
        return contract

    # -- what is rented --------------------------------------------------------------------------

    def show(self, account: Account, ident: str) -> Json:
        contract = self.hosting.find(account, ident)
        return {"success": True, "instances": self.row(contract) if contract else None}

    def row(self, contract: Contract) -> Json:
        return instances.row(contract, self.host_of(contract))

    def list_page(self, account: Account, query: Json) -> Json:
        """One page of the account's instances. Raises VastRefusal."""
        wanted = query.get("select_filters") or {}
        rows = [self.row(one) for one in self.hosting.of(account)]
        rows = search.chosen(rows, wanted, {})
        order = query.get("order_by") or [{"col": "id", "dir": "asc"}]
        search.ordered(rows, [(str(each["col"]), str(each.get("dir", "asc"))) for each in order])
        limit = query.get("limit") or search.MOST_INSTANCES
        most = min(max(int(limit), 1), search.MOST_INSTANCES)
        found, token = search.page(rows, most, str(query.get("after_token") or ""))
        columns = query.get("select_cols")
        if columns and "*" not in columns:
            found = [{name: row.get(name) for name in columns} for row in found]
        labels: dict[str, int] = {}
        for row in rows:
            labels[str(row["label"] or "")] = labels.get(str(row["label"] or ""), 0) + 1
        return {
            "success": True,
            "instances": found,
            "instances_found": len(found),
            "total_instances": len(rows),
            "next_token": token,
            "label_counts": labels,
        }

    def found(self, account: Account, ident: str) -> Contract:
        """Raises VastRefusal."""
        contract = self.hosting.find(account, ident)
        if contract is None:
            raise no_such_instance(ident)
        return contract

    def destroy(self, account: Account, ident: str) -> Json:
        contract = self.found(account, ident)
        try:
            self.hosting.destroy(contract)
        except DestroyRefused:
            raise VastRefusal(
                500, "server_error", f"error 500/5010: instance {ident} cannot be destroyed now"
            ) from None
        return {"success": True, "msg": f"destroying instance {ident}."}

    def attach_key(self, account: Account, ident: str, body: Json) -> Json:
        contract = self.found(account, ident)
        self.hosting.let_in(contract, _public_key(body))
        return {"success": True, "msg": "SSH key added to instance."}

    async def change(self, account: Account, ident: str, body: Json) -> Json:
        """A new label, or another state."""
        contract = self.found(account, ident)
        if "label" in body:
            contract.label = str(body["label"] or "")[:_LONGEST_LABEL]
        state = body.get("state")
        if state == "stopped":
            await self.hosting.stop(contract)
        elif state == "running" and contract.wanted != "running":
            if contract.outbid and (contract.bid or 0) <= contract.gpu_price:
                contract.message = "waiting: outbid"
            else:
                self.hosting.begin(contract)
        return {"success": True, "msg": "updated"}

    def bid(self, account: Account, ident: str, body: Json) -> Json:
        contract = self.found(account, ident)
        price = body.get("price")
        if contract.bid is None or not isinstance(price, int | float):
            raise VastRefusal(400, "invalid_args", "error 400/3210: not an interruptible instance")
        contract.bid = contract.gpu_price = float(price)
        return {"success": True}

    # -- price rises -----------------------------------------------------------------------------

    def rises(self, account: Account) -> Json:
        rows = [
            _rise_row(one, self.host_of(one))
            for one in self.hosting.of(account)
            if one.rise is not None and not one.rise.answered
        ]
        answer: Json = {"success": True, "count": len(rows), "truncated": False}
        return {**answer, "pending_price_increases": rows}

    def answer_rise(self, account: Account, body: Json, accepted: bool) -> Json:
        if set(body) != {"pending_price_increase_id"}:
            raise VastRefusal(400, "invalid_args", "error 400/1020: extra fields not permitted")
        for one in self.hosting.of(account):
            rise = one.rise
            if (
                rise is not None
                and not rise.answered
                and rise.id == body["pending_price_increase_id"]
            ):
                self.hosting.answer_rise(one, accepted)
                told: Json = {"success": True, "pending_price_increase_id": rise.id}
                return {**told, "contract_id": int(one.id)}
        raise VastRefusal(404, "no_pending_price_increase", "no such pending price increase")


def _unavailable(ask_id: int, form: str) -> VastRefusal:
    """form: in which of its ways the marketplace says it; see the fault `Stale`."""
    if form == "404":
        return VastRefusal(404, "no_such_ask", f"error 404/3603: no_such_ask {ask_id}")
    if form == "nodes":
        return VastRefusal(410, "no_such_ask", f"offer {ask_id} is no longer available")
    return no_such_ask(ask_id)


def _rise_row(contract: Contract, host: Host) -> Json:
    rise = contract.rise
    assert rise is not None
    old = contract.gpu_price / _HOUR_S
    disk = contract.disk_price / _HOUR_S
    row: Json = {
        "pending_price_increase_id": rise.id,
        "contract_id": int(contract.id),
        "host_id": host.host_id,
        "created_at": rise.since.timestamp(),
        "contract_end_date": None,
        "ask_end_date": None,
    }
    new: dict[str, Callable[[float], float]] = {
        "old": lambda x: x,
        "new": lambda x: x * rise.factor,
    }
    for when, price in new.items():
        row |= {
            f"{when}_gpu_costpersec": price(old),
            f"{when}_disk_ram_costpersec": disk,
            f"{when}_bwu_cost": host.up_cost,
            f"{when}_bwd_cost": host.down_cost,
            f"{when}_platform_fee": None,
        }
    return row


def _check(body: Json) -> None:
    """Raises VastRefusal for a request that is wrong in itself."""
    if body.get("client_id") != "me":
        raise VastRefusal(400, "invalid_args", "error 400/3101: client_id")
    if not body.get("image") and not body.get("template_hash_id"):
        raise VastRefusal(400, "invalid_args", "error 400/3102: image or template_hash_id")
    if len(str(body.get("label") or "")) > _LONGEST_LABEL:
        raise VastRefusal(400, "invalid_args", "error 400/3103: label too long")
    if len(str(body.get("onstart") or "")) > _LONGEST_ONSTART:
        raise VastRefusal(400, "invalid_args", "error 400/3106: onstart too long")
    runtype = str(body.get("runtype") or "ssh")
    if not set(runtype.split()) <= _RUNTYPES:
        raise VastRefusal(400, "invalid_args", f"error 400/3104: runtype {runtype}")
    for name in ("disk", "price"):
        value: Any = body.get(name)
        if value is not None and (not isinstance(value, int | float) or value <= 0):
            raise VastRefusal(400, "invalid_args", f"error 400/3105: {name}")


def _keys_within(onstart: str) -> list[asyncssh.SSHKey]:
    """What that script, which runs as the container starts, would write among the keys let in."""
    if "authorized_keys" not in onstart:
        return []
    found = []
    for text in _PUBLIC_KEY.findall(onstart):
        with contextlib.suppress(asyncssh.KeyImportError, ValueError):
            found.append(asyncssh.import_public_key(text))
    return found


def _public_key(body: Json) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_public_key(str(body.get("ssh_key") or ""))
    except (asyncssh.KeyImportError, ValueError):
        raise VastRefusal(400, "invalid_args", "error 400/3301: invalid ssh_key") from None
