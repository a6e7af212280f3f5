"""Variables that a server or a step gets by the settings, whatever the engine."""

from __future__ import annotations

import re
import shlex

from gdl.domain.errors import UsageError
from gdl.domain.secret import Secret
from gdl.settings import Settings
from gdl.settings.names import sounds_secret


def users_own(settings: Settings, key: str) -> tuple[dict[str, str], dict[str, Secret]]:
    """(plain, secret) of `engine.env`: names that sound secret never stand in a script. key: the
    variable of the endpoint's key. Raises UsageError for what cannot be set."""
    plain, secret = {}, {}
    for name, value in settings.engine.env.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\0" in value:
            raise UsageError(f"engine.env: {ascii(name)[:60]} cannot be set", "A-Z, 0-9 and _ only")
        if name == key:
            hint = "a key is made for every deployment"
            raise UsageError(f"engine.env: {key} cannot be set", hint)
        if sounds_secret(name):
            secret[name] = Secret(value)
        else:
            plain[name] = value
    return plain, secret


def hub_token(settings: Settings) -> dict[str, Secret]:
    """The token for the hub, as its own library reads it; {} without one."""
    token = settings.hf_token
    return {} if token is None else {"HF_TOKEN": Secret(token.get_secret_value())}


def hub_exports(settings: Settings) -> str:
    """Shell that tells the hub's own library what `engine.env` says of it, but tokens."""
    return "".join(
        f"export {name}={shlex.quote(value)}\n"
        for name, value in settings.engine.env.items()
        if re.fullmatch(r"(HF|HUGGINGFACE)_[A-Z0-9_]*", name) and "TOKEN" not in name
    )
