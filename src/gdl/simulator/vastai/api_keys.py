"""Keys of the stand-in for Vast.ai: the account's own, and those that may do a few things only."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import field

from gdl.domain.lazy_dataclass import dataclass
from gdl.simulator.contracts import Account
from gdl.simulator.wire_format import Json


@dataclass(frozen=True, slots=True)
class Action:
    """What a request does: its method, and category and endpoint as permissions name them, with the
    parameters that they may constrain."""

    method: str
    category: str
    endpoint: str
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScopedKey:
    """permissions: `{"api": {category: {endpoint: {method: {"constraints": {parameter: {"eq":
    value}}}}}}}`; what is empty allows all below it."""

    id: int
    account: Account
    name: str
    key: str
    permissions: Json
    made: float

    def allows(self, action: Action) -> bool:
        node: object = self.permissions.get("api")
        for name in (action.category, action.endpoint, action.method):
            if not isinstance(node, dict) or name not in node:
                return False
            node = node[name]
            if node == {}:
                return True
        constraints = node.get("constraints") if isinstance(node, dict) else None
        if not isinstance(constraints, dict):
            return False
        return all(
            isinstance(test, dict)
            and set(test) == {"eq"}
            and str(test["eq"]) == action.params.get(name)
            for name, test in constraints.items()
        )

    def row(self) -> Json:
        """As it is listed; the key itself is told once."""
        return {
            "id": self.id,
            "user_id": self.account.id,
            "key_name": self.name,
            "permissions": self.permissions,
            "created_at": self.made,
        }


class ApiKeys:
    """All accounts and their keys."""

    def __init__(self, *accounts: Account) -> None:
        self.accounts = {account.key: account for account in accounts}
        self.scoped: dict[int, ScopedKey] = {}
        self._ids = 700

    def make(self, account: Account, name: str, permissions: Json) -> ScopedKey:
        self._ids += 1
        key = ScopedKey(self._ids, account, name, secrets.token_hex(32), permissions, time.time())
        self.scoped[key.id] = key
        return key

    def whose(self, key: str) -> tuple[Account, ScopedKey | None] | None:
        """The account, and what limits the key; None: nobody's."""
        account = self.accounts.get(key)
        if account is not None:
            return account, None
        for scoped in self.scoped.values():
            if secrets.compare_digest(scoped.key, key):
                return scoped.account, scoped
        return None
