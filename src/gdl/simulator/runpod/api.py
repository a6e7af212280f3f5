"""The routes of the stand-in for RunPod: REST v2, and the GraphQL endpoint of its own package."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gdl.simulator.contracts import Account
from gdl.simulator.fault_draws import Draws
from gdl.simulator.fault_models import Operation
from gdl.simulator.market_http import MarketHttp, bearer
from gdl.simulator.runpod import errors, graphql, pods
from gdl.simulator.runpod.catalog import DATA_CENTERS
from gdl.simulator.runpod.errors import Problem
from gdl.simulator.runpod.market import RunpodMarket
from gdl.simulator.wire_format import Json
from gdl.simulator.wrong_answers import Cut

V2 = "/v2"
_LONGEST_BODY = 102_400


class Asked(NamedTuple):
    """One request, read. id: of its path, or "". pod: the one whose own key asks, or ""."""

    account: Account
    id: str
    query: dict[str, str]
    body: Json
    pod: str


Handler = Callable[[Asked], Awaitable[tuple[int, Json | None]]]


class RunpodApi:
    def __init__(
        self, market: RunpodMarket, accounts: list[Account], draws: Draws, cut: Cut, hang_s: float
    ) -> None:
        self.http = MarketHttp(draws, cut, hang_s, errors.wrong, _lies)
        self._market = market
        self._accounts = accounts

    def app(self) -> Starlette:
        one, volumes = f"{V2}/pods/{{id}}", f"{V2}/network-volumes"
        table: list[tuple[str, str, Operation, Handler]] = [
            ("GET", f"{V2}/catalog/gpus", "inventory", self._gpus),
            ("GET", f"{V2}/catalog/datacenters", "inventory", self._centers),
            ("POST", f"{V2}/pods", "create", self._create),
            ("GET", f"{V2}/pods", "sessions", self._list),
            ("GET", one, "session", self._show),
            ("DELETE", one, "delete", self._destroy),
            ("POST", f"{one}/action", "extend", self._act),
            ("GET", volumes, "volumes", self._list_volumes),
            ("POST", volumes, "volumes", self._make_volume),
            ("GET", f"{volumes}/{{id}}", "volumes", self._show_volume),
            ("DELETE", f"{volumes}/{{id}}", "volumes", self._delete_volume),
            ("GET", f"{V2}/billing/pods", "costs", self._charges),
            ("POST", "/graphql", "account", self._graphql),
        ]
        routes = [
            Route(path, self.http.endpoint(operation, self._answer(handler)), methods=[method])
            for method, path, operation, handler in table
        ]
        app = Starlette(routes=routes, exception_handlers={404: _no_route, 405: _no_route})
        app.router.redirect_slashes = False
        return app

    def _answer(self, handler: Handler) -> Callable[[Request, bytes], Awaitable[Response]]:
        async def answer(request: Request, raw: bytes) -> Response:
            try:
                account, pod = self._whose(bearer(request))
                ident = str(request.path_params.get("id", ""))
                if pod and pod != ident and request.url.path != "/graphql":
                    raise Problem(403, "This key is for one pod alone.")
                asked = Asked(account, ident, dict(request.query_params), _parsed(raw), pod)
                status, body = await handler(asked)
            except Problem as problem:
                return problem.response()
            return Response(status_code=status) if body is None else JSONResponse(body, status)

        return answer

    def _whose(self, key: str) -> tuple[Account, str]:
        """The account, and the pod whose own key it is. Raises Problem."""
        for account in self._accounts:
            if secrets.compare_digest(account.key, key) and not account.expired:
                return account, ""
        for contract in self._market.hosting.contracts.values():
            if secrets.compare_digest(contract.own_key, key) and not contract.gone:
                return contract.account, contract.id
        raise errors.unauthorized()

    # -- handlers --------------------------------------------------------------------------------

    async def _gpus(self, asked: Asked) -> tuple[int, Json]:
        query = asked.query
        count = query.get("count", "1")
        if not count.isdigit():
            raise Problem(400, "count is not a number")
        return 200, self._market.catalog.show(
            query.get("cloud", "SECURE"),
            int(count),
            query.get("include", ""),
            query.get("product", ""),
        )

    async def _centers(self, asked: Asked) -> tuple[int, Json]:
        rows = [
            {"id": one, "name": one, "region": one[:2], "networkVolumeTypes": ["STANDARD"]}
            for one in DATA_CENTERS
        ]
        return 200, {"dataCenters": rows}

    async def _create(self, asked: Asked) -> tuple[int, Json]:
        return 201, await self._market.create(asked.account, asked.body)

    async def _list(self, asked: Asked) -> tuple[int, Json]:
        return 200, self._market.list_page(asked.account, asked.query)

    async def _show(self, asked: Asked) -> tuple[int, Json]:
        return 200, pods.row(self._market.found(asked.account, asked.id))

    async def _destroy(self, asked: Asked) -> tuple[int, None]:
        self._market.destroy(asked.account, asked.id)
        return 204, None

    async def _act(self, asked: Asked) -> tuple[int, Json]:
        action = str(asked.body.get("action"))
        return 200, await self._market.act(asked.account, asked.id, action)

    async def _list_volumes(self, asked: Asked) -> tuple[int, Json]:
        return 200, self._market.list_volumes(asked.account, asked.query)

    async def _make_volume(self, asked: Asked) -> tuple[int, Json]:
        return 201, self._market.make_volume(asked.account, asked.body)

    async def _show_volume(self, asked: Asked) -> tuple[int, Json]:
        return 200, self._market.volume(asked.account, asked.id).row()

    async def _delete_volume(self, asked: Asked) -> tuple[int, None]:
        self._market.delete_volume(asked.account, asked.id)
        return 204, None

    async def _charges(self, asked: Asked) -> tuple[int, Json]:
        return 200, self._market.charges(asked.account, asked.query)

    async def _graphql(self, asked: Asked) -> tuple[int, Json]:
        query = str(asked.body.get("query") or "")
        try:
            data = await graphql.answer(self._market, asked.account, query, asked.pod)
        except Problem as problem:
            return 200, {"errors": [{"message": problem.detail}], "data": None}
        return 200, {"data": data}


def _lies(request: Request) -> Response:
    return Response(status_code=204)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Problem(error.status_code, "No such route.").response()


def _parsed(raw: bytes) -> Json:
    if len(raw) > _LONGEST_BODY:
        raise Problem(413, "The request is too large.")
    if not raw:
        return {}
    try:
        body: Any = json.loads(raw)
    except ValueError:
        raise Problem(400, "The request is not JSON.") from None
    if not isinstance(body, dict):
        raise Problem(422, "The request could not be read.", ["not an object"])
    return cast(Json, body)
