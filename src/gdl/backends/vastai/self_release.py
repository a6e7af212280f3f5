"""Keys that can end one machine and do nothing else, for the guard on it."""

from __future__ import annotations

from pydantic import ValidationError

from gdl.backends.base import SelfRelease
from gdl.backends.http import NoAnswer
from gdl.backends.vastai import wire
from gdl.backends.vastai.api_client import V0, VastHttp
from gdl.backends.vastai.instances import segment
from gdl.domain.errors import BackendError, GdlError
from gdl.domain.secret import Secret

_KEYS = f"{V0}/auth/apikeys/"


class EndKeys:
    """Raises BackendUnreachable, BackendRefused, BackendError."""

    def __init__(self, http: VastHttp) -> None:
        self._http = http

    async def make(self, session_id: str) -> SelfRelease:
        """A key for the end of that machine alone. One that is made for it already, by a process
        that is gone say, is made worthless first: nobody holds it."""
        machine = segment(session_id)
        name = f"gdl-end-{machine}"
        await self._revoke_named(name)
        body = {"name": name, "permissions": _only_destroy(int(machine))}
        try:
            answer = await self._http.send("POST", _KEYS, body=body)
        except NoAnswer as missing:
            await self._revoke_named(name)
            raise BackendError(
                f"no key for ending instance {machine} was returned: {missing.what}",
                "ask for it again",
            ) from None
        data = self._http.data(answer, f"make a key for the end of instance {machine}")
        try:
            made = wire.NewKeyWire.model_validate(data)
        except ValidationError:
            made = wire.NewKeyWire()
        if not made.key or made.id is None:
            await self._revoke_named(name)
            raise self._http.wrong_shape("a key")
        url = f"{self._http.shown_url}{V0}/instances/{machine}/"
        return SelfRelease("DELETE", url, Secret(made.key), ref=str(made.id))

    async def revoke(self, ref: str) -> None:
        """The answer is no object but a sentence."""
        if not ref.isdigit():
            return
        answer = await self._http.change("DELETE", f"{_KEYS}{ref}/", body={})
        if not answer.ok and answer.status != 404:
            self._http.data(answer, "delete a key")

    async def _revoke_named(self, name: str) -> None:
        """Those of that name, as far as that can be done."""
        try:
            data = await self._http.get_data(_KEYS, "list the keys")
            rows = data.get("apikeys")
            for row in rows if isinstance(rows, list) else ():
                if isinstance(row, dict) and name in (row.get("name"), row.get("key_name")):
                    await self.revoke(str(row.get("id", "")))
        except GdlError:
            return


def _only_destroy(machine: int) -> dict[str, object]:
    """By the names that the service itself has for categories and routes. To stop or reboot a
    machine, or to see one, is another route."""
    constraints = {"constraints": {"id": {"eq": machine}}}
    return {"api": {"instance_write": {"api.instance": {"DELETE": constraints}}}}
