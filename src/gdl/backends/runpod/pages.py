"""RunPod's interface: its answers' objects and whole lists, or the errors of why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gdl.backends.answer import Answer, Unusable, misfit
from gdl.backends.http import ServiceHttp
from gdl.backends.runpod.errors import ErrorReader
from gdl.backends.runpod.wire import PaginationWire

API = "/v2"
_PAGE = 100
_MOST_PAGES = 1000
_Model = TypeVar("_Model", bound=BaseModel)


class RunpodApi:
    """http: to RunPod. errors: what is said when it goes wrong."""

    def __init__(self, http: ServiceHttp, errors: ErrorReader) -> None:
        self.http = http
        self.errors = errors

    async def _get(
        self, path: str, doing: str, params: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Raises BackendUnreachable, BackendRefused, BackendError."""
        return self.data(await self.http.get(API + path, params), doing)

    async def rows(
        self, path: str, rows: str, doing: str, params: Mapping[str, str] | None = None
    ) -> list[Any]:
        """Those of a list that has no pages."""
        return self._rows(await self._get(path, doing, params), rows)

    async def listed(self, path: str, rows: str, model: type[_Model], doing: str) -> list[_Model]:
        """Every page of a list. A list that is not whole proves nothing, so that a page that cannot
        be read is an error."""
        found: list[_Model] = []
        seen = {""}
        params = {"limit": str(_PAGE)}
        for _ in range(_MOST_PAGES):
            data = await self._get(path, doing, params)
            found += [self.model(model, row) for row in self._rows(data, rows)]
            page = self.model(PaginationWire, data.get("pagination"))
            if not page.hasNextPage:
                return found
            if page.nextCursor in seen:
                raise self.errors.wrong_shape("the next page of a list")
            seen.add(page.nextCursor)
            params = {"limit": str(_PAGE), "cursor": page.nextCursor}
        raise self.errors.wrong_shape("the end of a list")

    def _rows(self, data: Mapping[str, Any], name: str) -> list[Any]:
        rows = data.get(name)
        if not isinstance(rows, list):
            raise self.errors.wrong_shape(f"a list of {name}")
        return rows

    def data(self, answer: Answer, doing: str) -> dict[str, Any]:
        """The object of a good answer. Raises BackendRefused, BackendError."""
        if not answer.ok:
            raise self.errors.refused(answer, doing)
        try:
            return answer.mapping()
        except Unusable as what:
            raise self.errors.unusable(str(what)) from None

    def model(self, model: type[_Model], data: object) -> _Model:
        try:
            return model.model_validate(data)
        except ValidationError as error:
            raise self.errors.wrong_shape(misfit(model, error)) from None


async def gpus(api: RunpodApi, cloud: str, count: int) -> list[Any]:
    """The catalogue's rows for machines with so many GPUs on a cloud, with what can be had now."""
    params = {"include": "AVAILABILITY", "product": "POD", "cloud": cloud, "count": str(count)}
    return await api.rows("/catalog/gpus", "gpus", "list its catalogue", params)
