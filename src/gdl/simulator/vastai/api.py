"""The routes of the stand-in for Vast.ai: every path with a slash at its end, as the real one."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast

import asyncssh
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gdl.simulator.contracts import Account
from gdl.simulator.fault_draws import Draws
from gdl.simulator.fault_models import Operation
from gdl.simulator.market_http import MarketHttp, bearer
from gdl.simulator.vastai import errors
from gdl.simulator.vastai.api_keys import Action, ApiKeys
from gdl.simulator.vastai.billing import Billing
from gdl.simulator.vastai.errors import VastRefusal
from gdl.simulator.vastai.market import VastMarket
from gdl.simulator.vastai.volumes import Volumes
from gdl.simulator.wire_format import Json
from gdl.simulator.wrong_answers import Cut

V0, V1 = "/api/v0", "/api/v1"
_JSON_FILTERS = ("select_filters", "order_by", "select_cols", "limit", "latest_first")


class Asked(NamedTuple):
    """One request, read. id: of its path, or ""."""

    account: Account
    id: str
    query: Json
    body: Json


Handler = Callable[[Asked], Awaitable[Json]]
Endpoint = tuple[str, str, Operation, str, str, Handler]
"""Method, path, kind of request, category and endpoint as permissions name them, who answers."""


class VastApi:
    """search_quota: searches that are left of the day; None: no end of them."""

    def __init__(
        self,
        market: VastMarket,
        keys: ApiKeys,
        volumes: Volumes,
        draws: Draws,
        cut: Cut,
        hang_s: float,
    ) -> None:
        self.http = MarketHttp(draws, cut, hang_s, errors.wrong, _lies)
        self._market = market
        self._keys = keys
        self._volumes = volumes
        self._billing = Billing(market, volumes)
        self.search_quota: int | None = None

    def app(self) -> Starlette:
        routes = [
            Route(
                path.replace("{id}", "{id:int}"),
                self.http.endpoint(operation, self._answer(category, endpoint, handler)),
                methods=[method],
            )
            for method, path, operation, category, endpoint, handler in self._endpoints()
        ]
        names = self.http.endpoint("inventory", self._gpu_names)
        routes.append(Route(f"{V0}/gpu_names/unique/", names, methods=["GET"]))
        app = Starlette(routes=routes, exception_handlers={404: _no_route, 405: _no_route})
        app.router.redirect_slashes = False
        return app

    def _endpoints(self) -> list[Endpoint]:
        read, write = "instance_read", "instance_write"
        one = f"{V0}/instances/{{id}}/"
        keys = f"{V0}/auth/apikeys/"
        rise = f"{V0}/instances"
        return [
            ("POST", f"{V0}/bundles/", "inventory", "misc", "api.bundles", self._search),
            ("PUT", f"{V0}/search/asks/", "inventory", "misc", "api.search", self._search_asks),
            ("PUT", f"{V0}/asks/{{id}}/", "create", write, "api.asks", self._rent),
            ("GET", f"{V1}/instances/", "sessions", read, "api.instances", self._list),
            ("GET", f"{V0}/instances/filters/", "sessions", read, "api.instances", self._filters),
            (
                "GET",
                f"{rise}/pending-price-increases/",
                "price-increases",
                read,
                "api.price",
                self._rises,
            ),
            (
                "PUT",
                f"{rise}/accept-price-increase/",
                "price-increases",
                write,
                "api.price",
                self._accept,
            ),
            (
                "PUT",
                f"{rise}/reject-price-increase/",
                "price-increases",
                write,
                "api.price",
                self._reject,
            ),
            ("GET", one, "session", read, "api.instance", self._show),
            ("PUT", one, "extend", write, "api.instance", self._change),
            ("DELETE", one, "delete", write, "api.instance", self._destroy),
            ("DELETE", f"{V0}/instances/", "delete", write, "api.instances", self._destroy_many),
            ("PUT", f"{V0}/instances/bid_price/{{id}}/", "extend", write, "api.bid", self._bid),
            ("PUT", f"{V0}/instances/reboot/{{id}}/", "extend", write, "api.reboot", self._reboot),
            ("POST", f"{one}ssh/", "ssh-key", write, "api.instance.ssh", self._attach),
            ("GET", f"{V0}/users/current/", "account", "user_read", "api.user", self._user),
            ("GET", f"{V0}/ssh/", "ssh-key", "user_read", "api.ssh", self._public_keys),
            ("POST", f"{V0}/ssh/", "ssh-key", "user_write", "api.ssh", self._add_public_key),
            ("GET", keys, "api-keys", "user_read", "api.keys", self._list_keys),
            ("POST", keys, "api-keys", "user_write", "api.keys", self._make_key),
            ("DELETE", f"{keys}{{id}}/", "api-keys", "user_write", "api.keys", self._delete_key),
            ("GET", f"{V0}/charges/", "costs", "billing_read", "api.charges", self._charges),
            ("POST", f"{V0}/volumes/search/", "volumes", "misc", "api.volumes", self._find_volumes),
            ("GET", f"{V0}/volumes/", "volumes", read, "api.volumes", self._list_volumes),
            ("PUT", f"{V0}/volumes/", "volumes", write, "api.volumes", self._make_volume),
            ("DELETE", f"{V0}/volumes/", "volumes", write, "api.volumes", self._delete_volume),
        ]

    def _answer(
        self, category: str, endpoint: str, handler: Handler
    ) -> Callable[[Request, bytes], Awaitable[Response]]:
        async def answer(request: Request, raw: bytes) -> Response:
            try:
                ident = str(request.path_params.get("id", ""))
                action = Action(request.method, category, endpoint, {"id": ident})
                account = self._account(bearer(request), action)
                if endpoint in ("api.bundles", "api.search") and self._quota_is_used_up():
                    return errors.quota_exceeded()
                asked = Asked(account, ident, _query(request), _parsed(raw))
                return JSONResponse(await handler(asked))
            except VastRefusal as refusal:
                return refusal.response()

        return answer

    def _account(self, key: str, action: Action) -> Account:
        """Raises VastRefusal for a key that is nobody's or may not do this."""
        whose = self._keys.whose(key)
        if whose is None:
            raise errors.unknown_key()
        account, scoped = whose
        if account.expired and scoped is None:
            raise errors.session_expired()
        if scoped is not None and not scoped.allows(action):
            raise errors.forbidden()
        return account

    def _quota_is_used_up(self) -> bool:
        if self.search_quota is None:
            return False
        self.search_quota = max(self.search_quota - 1, -1)
        return self.search_quota < 0

    # -- offers and instances --------------------------------------------------------------------

    async def _search(self, asked: Asked) -> Json:
        return {"offers": self._market.offers.search(asked.body)}

    async def _gpu_names(self, request: Request, raw: bytes) -> Response:
        """The one thing that is told without a key."""
        return JSONResponse({"gpu_names": self._market.offers.gpu_names()})

    async def _search_asks(self, asked: Asked) -> Json:
        return {"offers": self._market.offers.search(asked.body.get("q") or {})}

    async def _rent(self, asked: Asked) -> Json:
        return await self._market.rent(asked.account, int(asked.id), asked.body)

    async def _list(self, asked: Asked) -> Json:
        return self._market.list_page(asked.account, asked.query)

    async def _filters(self, asked: Asked) -> Json:
        rows = [self._market.row(one) for one in self._market.hosting.of(asked.account)]
        names = ("actual_status", "label", "gpu_name", "verification")
        return {"success": True, "filters": [{name: row[name] for name in names} for row in rows]}

    async def _show(self, asked: Asked) -> Json:
        return self._market.show(asked.account, asked.id)

    async def _change(self, asked: Asked) -> Json:
        return await self._market.change(asked.account, asked.id, asked.body)

    async def _destroy(self, asked: Asked) -> Json:
        return self._market.destroy(asked.account, asked.id)

    async def _destroy_many(self, asked: Asked) -> Json:
        for ident in asked.body.get("instance_ids") or []:
            self._market.destroy(asked.account, str(ident))
        return {"success": True}

    async def _bid(self, asked: Asked) -> Json:
        return self._market.bid(asked.account, asked.id, asked.body)

    async def _reboot(self, asked: Asked) -> Json:
        await self._market.hosting.reboot(self._market.found(asked.account, asked.id))
        return {"success": True}

    async def _attach(self, asked: Asked) -> Json:
        return self._market.attach_key(asked.account, asked.id, asked.body)

    async def _rises(self, asked: Asked) -> Json:
        return self._market.rises(asked.account)

    async def _accept(self, asked: Asked) -> Json:
        return self._market.answer_rise(asked.account, asked.body, True)

    async def _reject(self, asked: Asked) -> Json:
        return self._market.answer_rise(asked.account, asked.body, False)

    # -- the account -----------------------------------------------------------------------------

    async def _user(self, asked: Asked) -> Json:
        return self._billing.user(asked.account)

    async def _charges(self, asked: Asked) -> Json:
        return self._billing.charges(asked.account, asked.query)

    async def _public_keys(self, asked: Asked) -> Json:
        rows = enumerate(asked.account.public_keys, 1)
        return {"success": True, "ssh_keys": [{"id": n, "public_key": key} for n, key in rows]}

    async def _add_public_key(self, asked: Asked) -> Json:
        key = str(asked.body.get("ssh_key") or "")
        try:
            asyncssh.import_public_key(key)
        except (asyncssh.KeyImportError, ValueError):
            raise VastRefusal(400, "invalid_args", "error 400/3301: invalid ssh_key") from None
        asked.account.public_keys.append(key)
        return {"success": True, "key": {"id": len(asked.account.public_keys), "public_key": key}}

    async def _list_keys(self, asked: Asked) -> Json:
        mine = [key for key in self._keys.scoped.values() if key.account is asked.account]
        return {"success": True, "apikeys": [key.row() for key in mine]}

    async def _make_key(self, asked: Asked) -> Json:
        permissions = asked.body.get("permissions")
        if not asked.body.get("name") or not isinstance(permissions, dict):
            raise VastRefusal(400, "invalid_args", "error 400/1030: name and permissions")
        key = self._keys.make(asked.account, str(asked.body["name"]), permissions)
        return {"success": True, **key.row(), "key": key.key}

    async def _delete_key(self, asked: Asked) -> Json:
        key = self._keys.scoped.get(int(asked.id))
        if key is None or key.account is not asked.account:
            raise VastRefusal(404, "no_such_key", f"API key {asked.id} not found.")
        del self._keys.scoped[key.id]
        return {"success": True}

    # -- volumes ---------------------------------------------------------------------------------

    async def _find_volumes(self, asked: Asked) -> Json:
        return {"offers": self._volumes.search(asked.body)}

    async def _list_volumes(self, asked: Asked) -> Json:
        return {"success": True, "volumes": self._volumes.rows(asked.account)}

    async def _make_volume(self, asked: Asked) -> Json:
        return self._volumes.make(asked.account, asked.body)

    async def _delete_volume(self, asked: Asked) -> Json:
        return self._volumes.delete(asked.account, str(asked.query.get("id", "")))


def _lies(request: Request) -> Response:
    ident = request.path_params.get("id")
    return JSONResponse({"success": True, "msg": f"destroying instance {ident}."})


async def _no_route(request: Request, error: Exception) -> Response:
    path = request.scope["path"]
    if not path.endswith("/"):
        # As the real one, which then drops what PUT and DELETE were to do.
        query = f"?{request.url.query}" if request.url.query else ""
        return Response(status_code=301, headers={"Location": f"{path}/{query}"})
    assert isinstance(error, HTTPException)
    return PlainTextResponse("Not Found", error.status_code)


def _query(request: Request) -> Json:
    """Values are JSON where that makes sense of them, as the official client writes them."""
    found: dict[str, Any] = dict(request.query_params)
    for name in _JSON_FILTERS:
        if name in found:
            try:
                found[name] = json.loads(found[name])
            except ValueError:
                raise VastRefusal(400, "invalid_args", f"error 400/1011: {name}") from None
    return found


def _parsed(raw: bytes) -> Json:
    if not raw:
        return {}
    try:
        body = json.loads(raw)
    except ValueError:
        raise VastRefusal(400, "invalid_args", "error 400/1012: not JSON") from None
    if not isinstance(body, dict):
        raise VastRefusal(400, "invalid_args", "error 400/1013: not an object")
    return cast(Json, body)
