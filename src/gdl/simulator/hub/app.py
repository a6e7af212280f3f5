"""The simulated hub's HTTP interface: paths, headers and error bodies as the real one has them."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gdl.domain.lazy_dataclass import dataclass
from gdl.simulator.hub.repositories import HubFile, Repository

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_PAGE = 1000
_REMEMBERED = 10_000
_MEMORY = 64 * 1024 * 1024
"""More of a file is never made at once."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as it arrived. token: the one it carried, "" for none."""

    method: str
    path: str
    host: str
    token: str = ""
    range: str = ""


@dataclass(slots=True)
class SimulatedHub:
    """repositories: by their ids. tokens: each with the ids of gated and private repositories that
    it may read. cdn: the base address that large files are given from, "" for the hub's own.
    accepting: any token may read all. wrong: in place of an answer, where it gives one for the
    request's path. asked: the latest requests.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    tokens: Mapping[str, frozenset[str]] = field(default_factory=dict)
    cdn: str = ""
    accepting: bool = False
    wrong: Callable[[str], Response | None] = lambda path: None
    asked: deque[Asked] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    @classmethod
    def of(cls, repositories: Iterable[Repository]) -> SimulatedHub:
        return cls({each.id.casefold(): each for each in repositories})

    def add(self, repository: Repository) -> None:
        self.repositories[repository.id.casefold()] = repository

    def app(self) -> Starlette:
        def route(path: str, handler: Callable[[Request], Response]) -> Route:
            return Route(path, self._endpoint(handler), methods=["GET", "HEAD"])

        repository = "/{owner}/{name}"
        return Starlette(
            routes=[
                route("/api/models", self._search),
                route(f"/api/models{repository}", self._info),
                route(f"/api/models{repository}/revision/{{revision}}", self._info),
                route(
                    f"/api/resolve-cache/models{repository}/{{revision}}/{{path:path}}", self._small
                ),
                route(f"/cdn{repository}/{{revision}}/{{path:path}}", self._large),
                route(f"{repository}/resolve/{{revision}}/{{path:path}}", self._resolve),
            ],
            exception_handlers={404: lambda request, error: _error(404, "", "Not Found")},
        )

    def _endpoint(self, handler: Callable[[Request], Response]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            path = request.url.path
            self.asked.append(
                Asked(
                    request.method,
                    path,
                    request.headers.get("host", ""),
                    _token(request),
                    request.headers.get("range", ""),
                )
            )
            return self.wrong(path) or handler(request)

        return endpoint

    # -- who may see what ------------------------------------------------------------------------

    def _seen(self, request: Request) -> Repository | Response:
        """The repository, or the answer to those who may not see it, by the hub's own words."""
        token = _token(request)
        if token and token not in self.tokens and not self.accepting:
            message = "Invalid credentials in Authorization header"
            return _error(401, "", message)
        ident = f"{request.path_params['owner']}/{request.path_params['name']}"
        found = self.repositories.get(ident.casefold())
        if found is None or (found.private and not self._may_read(token, found)):
            if token:
                return _error(404, "RepoNotFound", "Repository not found")
            # Anonymous ones are not told whether it is there.
            body = "Invalid username or password."
            return _error(401, "RepoNotFound", "Repository not found", body)
        if found.disabled:
            return _error(403, "", "Access to this resource is disabled.")
        if found.moved_to or found.id != ident:
            to = found.moved_to or found.id
            path = request.url.path.replace(ident, to, 1)
            query = f"?{request.url.query}" if request.url.query else ""
            message = f"Temporary Redirect. Redirecting to {path}{query}"
            return Response(message, 307, {"location": f"{path}{query}"})
        return found

    def _may_read(self, token: str, found: Repository) -> bool:
        return bool(token) and (self.accepting or found.id in self.tokens.get(token, ()))

    def _withheld(self, request: Request, found: Repository) -> Response | None:
        token = _token(request)
        if not found.gated or self._may_read(token, found):
            return None
        said = f"Access to model {found.id} is restricted"
        if not token:
            return _error(
                401,
                "GatedRepo",
                f"{said}. You must have access to it and be authenticated to access it. "
                "Please log in.",
            )
        return _error(
            403,
            "GatedRepo",
            f"{said} and you are not in the authorized list. "
            f"Ask for access at https://huggingface.co/{found.id}.",
        )

    # -- paths -----------------------------------------------------------------------------------

    def _search(self, request: Request) -> Response:
        query = request.query_params
        words = query.get("search", "").casefold()
        author = query.get("author", "").casefold()
        found = [
            each.described(sizes=False)
            for each in self.repositories.values()
            if words in each.id.casefold()
            and not (each.private or each.moved_to or each.disabled)
            and each.id.casefold().startswith(f"{author}/" if author else "")
        ]
        if query.get("sort") == "downloads":
            found.sort(key=lambda row: -int(row["downloads"]))
        wanted = {"_id", "id", "modelId", *query.getlist("expand")}
        if len(wanted) == 3:
            wanted |= {"likes", "private", "downloads", "tags", "pipeline_tag", "library_name"}
            wanted |= {"createdAt"}
        limit = min(int(query.get("limit", _PAGE)), _PAGE)
        rows = [{k: v for k, v in row.items() if k in wanted} for row in found[:limit]]
        return JSONResponse(rows)

    def _info(self, request: Request) -> Response:
        found = self._seen(request)
        if isinstance(found, Response):
            return found
        if wrong := _wrong_revision(request, found):
            return wrong
        sizes = request.query_params.get("blobs", "").lower() in ("true", "1")
        return JSONResponse(found.described(sizes=sizes))

    def _resolve(self, request: Request) -> Response:
        found = self._seen(request)
        if isinstance(found, Response):
            return found
        if refused := (self._withheld(request, found) or _wrong_revision(request, found)):
            return refused
        path = request.path_params["path"]
        file = found.files.get(path)
        commit = {"x-repo-commit": found.revision}
        if file is None:
            return _error(404, "EntryNotFound", "Entry not found", headers=commit)
        if not file.large:
            place = f"/api/resolve-cache/models/{found.id}/{found.revision}/{path}"
            return Response("", 307, {"location": place, **commit})
        place = f"{self.cdn}/cdn/{found.id}/{found.revision}/{path}"
        linked = {"x-linked-size": str(file.length), "x-linked-etag": f'"{file.sha256}"'}
        return Response("", 302, {"location": place, **commit, **linked})

    def _small(self, request: Request) -> Response:
        found = self._seen(request)
        if isinstance(found, Response):
            return found
        file = found.files[request.path_params["path"]]
        etag = {"etag": f'"{file.sha256[:40]}"', "x-repo-commit": found.revision}
        return _part(request, file, etag)

    def _large(self, request: Request) -> Response:
        """Signed by its address: a token beside that is an error, as at the real place."""
        if _token(request):
            return Response("<Error><Code>InvalidArgument</Code></Error>", 400)
        found = self.repositories[
            f"{request.path_params['owner']}/{request.path_params['name']}".casefold()
        ]
        file = found.files[request.path_params["path"]]
        return _part(request, file, {"etag": f'"{file.sha256}"', "accept-ranges": "bytes"})


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _wrong_revision(request: Request, found: Repository) -> Response | None:
    wanted = request.path_params.get("revision", "main")
    if wanted in ("main", found.revision):
        return None
    return _error(404, "RevisionNotFound", f"Invalid rev id: {wanted}")


def _part(request: Request, file: HubFile, headers: Mapping[str, str]) -> Response:
    """The file, or the part of it that the request asks for."""
    start, end, status, extra = 0, file.length, 200, dict(headers)
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is not None:
        start = int(asked.group(1))
        end = min(int(asked.group(2) or file.length) + 1, file.length)
        if start >= file.length:
            return Response("", 416, {"content-range": f"bytes */{file.length}"})
        status = 206
        extra["content-range"] = f"bytes {start}-{end - 1}/{file.length}"
    if request.method == "HEAD":
        return Response("", status, {**extra, "content-length": str(end - start)})
    return Response(file.part(start, min(end, start + _MEMORY)), status, extra)


def _error(
    status: int,
    code: str,
    message: str,
    body: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response:
    told = {"x-error-message": message, **(headers or {})}
    if code:
        told["x-error-code"] = code
    return JSONResponse({"error": body or message}, status, told)
