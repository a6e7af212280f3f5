"""The diagnosis with the rules of vLLM beside those that hold for every machine."""

from __future__ import annotations

from functools import partial

from gdl.diagnosis import rule_engine
from gdl.diagnosis.rule_engine import rule_set
from gdl.engines.registry import get, names

RULES = rule_set(("vllm", get("vllm").rules()))
ALL = rule_set(*((name, get(name).rules()) for name in names()))
"""Those that `gdl-tui diagnose` asks."""
rules = RULES.rules
diagnose = partial(rule_engine.diagnose, RULES)
by_id = partial(rule_engine.by_id, RULES)
Scanner = partial(rule_engine.Scanner, RULES)
