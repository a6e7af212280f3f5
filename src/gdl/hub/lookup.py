"""What is known of a model: the hub's answer, else the one kept of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from gdl.domain.errors import GdlError, HubAway, UnknownModel
from gdl.domain.model_facts import FoundModel, ModelFacts
from gdl.domain.model_names import HubName
from gdl.domain.secret import Secret
from gdl.hub import answers, names
from gdl.hub.answers import CHECK_NAME
from gdl.hub.facts_cache import FactsCache
from gdl.settings import Settings

if TYPE_CHECKING:
    import httpx

    from gdl.hub.http import HubHttp

_Told = TypeVar("_Told")

DEFAULT_ENDPOINT = "https://huggingface.co"
SIMULATED_ENDPOINT = "http://hub.sandbox"
OFFLINE = "offline: the hub was not asked"
_AWAY_FOR = timedelta(seconds=30)
"""How long a hub that did not answer is not asked again: a screen must not wait for it twice."""
_SEARCH_LIMIT = 4 * 1024 * 1024
_SEARCHES_KEPT = 200
_EXPAND = (
    "downloads",
    "gated",
    "lastModified",
    "library_name",
    "pipeline_tag",
    "safetensors",
    "tags",
)


def search_words(typed: str) -> tuple[str, ...]:
    """Words for the hub's search, which finds parts of names and forgives no typo: the beginning
    of the name, in two lengths."""
    name = typed.rpartition("/")[2].partition(":")[0]
    words = re.split(r"[-_\s]+", name)
    longer, shorter = "-".join(words[:2]), words[0]
    family = re.match(r"[A-Za-z]{2,}", shorter)
    if shorter == longer and family is not None:
        shorter = family.group()
    return tuple(dict.fromkeys(each for each in (longer, shorter) if len(each) > 1))


class Hub:
    """The hub that the settings name. Asked only when something is asked of this.

    simulated: makes the way to a hub that stands for the public one.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], datetime],
        *,
        simulated: Callable[[], httpx.AsyncBaseTransport] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._simulated = None if settings.hub.endpoint else simulated
        public = DEFAULT_ENDPOINT if self._simulated is None else SIMULATED_ENDPOINT
        self.endpoint = settings.hub.endpoint or public
        self.offline = settings.hub.offline
        self.has_token = settings.hf_token is not None
        self.cache = FactsCache(settings.data_dir / "hub", self.endpoint)
        self._locks: dict[HubName, asyncio.Lock] = {}
        self._searches: dict[tuple[str, int], tuple[FoundModel, ...]] = {}
        self._away: tuple[HubAway, datetime] | None = None
        self._client: HubHttp | None = None

    @property
    def requests(self) -> int:
        """Sent so far, redirects included."""
        return 0 if self._client is None else self._client.requests

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    # -- one model -------------------------------------------------------------------------------

    def kept(self, name: HubName) -> ModelFacts | None:
        """The last answer, if it is still fresh or nobody may be asked. Asks nobody."""
        facts = self.cache.get(name.id, name.quantization)
        if facts is None:
            return None
        if self.offline:
            return replace(facts, trouble=OFFLINE)
        return facts if self._is_fresh(facts) else None

    async def facts(self, name: HubName, *, renew: bool = False) -> ModelFacts:
        """What the hub says, or said within `hub.fresh_hours` (renew: now); its last answer where
        it does not answer, with the reason as `trouble`.

        Raises UnknownModel (with what may have been meant), ModelRefused, UsageError for a token
        that is refused, HubAway where nothing is kept either.
        """
        async with self._locks.setdefault(name, asyncio.Lock()):
            until = self._until()
            kept = await asyncio.to_thread(self.cache.get, name.id, name.quantization)
            if kept is not None and not renew and not self.offline and self._is_fresh(kept):
                return kept
            try:
                facts = await self._asked(name, kept, until)
            except HubAway as away:
                if kept is None:
                    raise
                return replace(kept, trouble=away.message)
            except UnknownModel as unknown:
                self.cache.drop(name.id, name.quantization)
                raise await self._with_suggestions(
                    name, unknown, until, was_there=kept is not None
                ) from None
            await asyncio.to_thread(self.cache.put, facts, name.quantization)
            return facts

    def _is_fresh(self, facts: ModelFacts) -> bool:
        """Also not: what was withheld, now that there is a token."""
        if facts.told_at is None or (facts.withheld and self.has_token):
            return False
        age = self._clock() - facts.told_at
        return timedelta() <= age < timedelta(hours=self._settings.hub.fresh_hours)

    async def _asked(self, name: HubName, kept: ModelFacts | None, until: float) -> ModelFacts:
        http = await self._http()
        from gdl.hub.repository import RepositoryReader

        reader = RepositoryReader(http, self._clock, token=self.has_token)
        return await self._remembering(http, reader.read(name, kept), until)

    async def _with_suggestions(
        self, name: HubName, unknown: UnknownModel, until: float, *, was_there: bool
    ) -> UnknownModel:
        try:
            async with asyncio.timeout_at(until):
                meant = await self.suggestions(name.id)
        except TimeoutError:
            meant = tuple(names.suggestions(name.id))
        message = unknown.message
        if was_there:
            message = f"{name.id} is no longer on the hub: deleted, or made private"
        if not meant:
            return UnknownModel(message, unknown.hint)
        more = unknown.hint.removeprefix(CHECK_NAME).removeprefix("; ")
        hint = f"did you mean {' or '.join(meant)}? {more[:1].upper()}{more[1:]}".rstrip()
        return UnknownModel(message, hint, meant)

    # -- searching -------------------------------------------------------------------------------

    async def search(self, words: str, *, limit: int = 20) -> tuple[FoundModel, ...]:
        """What the hub finds for words, most downloaded first. Raises HubAway."""
        key = (" ".join(words.split()), limit)
        found = self._searches.get(key)
        if found is None:
            http = await self._http()
            from gdl.hub.http import TooLarge

            asked = http.get(
                "/api/models",
                {"search": key[0], "limit": limit, "sort": "downloads", "expand": list(_EXPAND)},
                limit=_SEARCH_LIMIT,
            )
            try:
                answer = await self._remembering(http, asked, self._until())
            except TooLarge as large:
                raise HubAway(large.message, "check HF_ENDPOINT; name a model's id") from None
            if not answer.ok:
                raise HubAway(
                    f"the model hub does not search (HTTP {answer.status})", "name a model's id"
                )
            found = answers.found_models(answer.json())
            if len(self._searches) >= _SEARCHES_KEPT:
                self._searches.clear()
            self._searches[key] = found
        return found

    async def suggestions(self, typed: str) -> tuple[str, ...]:
        """Names that are there and look like what was typed, best first; of the program's own list
        alone where the hub does not answer."""
        there: list[str] = []
        searches = [self.search(words, limit=50) for words in search_words(typed)]
        for found in await asyncio.gather(*searches, return_exceptions=True):
            if isinstance(found, tuple):
                there += [each.id for each in found]
            elif not isinstance(found, GdlError):
                raise found
        return tuple(names.suggestions(typed, tuple(there)))

    # -- asking ----------------------------------------------------------------------------------

    async def _http(self) -> HubHttp:
        """Raises HubAway where nobody is to be asked, or nobody answered a moment ago."""
        if self.offline:
            raise HubAway(OFFLINE, "unset HF_HUB_OFFLINE and hub.offline to ask it")
        if self._away is not None and self._clock() < self._away[1]:
            raise self._away[0]
        if self._client is None:
            # Its library takes a moment to import, and not every run needs it.
            make = await asyncio.to_thread(_http_class)
            token = self._settings.hf_token
            made = None if self._simulated is None else await asyncio.to_thread(self._simulated)
            self._client = self._client or make(
                self.endpoint,
                None if token is None else Secret(token.get_secret_value()),
                timeout_s=self._settings.timeouts.hub,
                transport=made,
            )
        return self._client

    def _until(self) -> float:
        """The loop's time by which an answer that is asked for now must be there, however many
        requests it takes."""
        return asyncio.get_running_loop().time() + self._settings.timeouts.hub

    async def _remembering(self, http: HubHttp, asked: Awaitable[_Told], until: float) -> _Told:
        """The result; that the hub is away is remembered for a while."""
        try:
            try:
                async with asyncio.timeout_at(until):
                    told = await asked
            except TimeoutError:
                raise http.silent() from None
        except HubAway as away:
            if away.everywhere:
                self._away = (away, self._clock() + _AWAY_FOR)
            raise
        self._away = None
        return told


def _http_class() -> type[HubHttp]:
    from gdl.hub.http import HubHttp

    return HubHttp
