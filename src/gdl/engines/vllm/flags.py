"""Which flags a model's recipe becomes on one release, and what is omitted. Pure.

The user's own arguments win: what one of them decides is not decided here. What a release does
not know is omitted and said, because its server would end at once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field, replace

from gdl.domain.engine import Capabilities
from gdl.domain.lazy_dataclass import dataclass
from gdl.engines.python.versions import parse
from gdl.engines.vllm.recipes import Recipe
from gdl.engines.vllm.server_flags import Kind, ignorance, knows

KEEP_ALIVE_S = 15
"""Between two comments in a silent stream. A tunnel to the internet gives an answer up that says
nothing for longer: cloudflared after 100 s, some proxies after 30 s."""
_POLLED = "/health,/metrics"
"""What is asked every few seconds: 17 MB a day in the server's log."""
_STRICT = "parameter"
"""Arguments of a forced or automatic call follow the tool's schema, as if every tool were
`"strict": true`; without it a forced call may come with any JSON value and finish as usual."""
_REASONING_SWITCH_UNTIL = "0.9.0"
"""Before, a reasoning parser did nothing without --enable-reasoning (vllm/engine/arg_utils.py)."""
_BOTH_SINCE = "0.8.4"
"""Before, --enable-reasoning and --enable-auto-tool-choice excluded each other
(vllm/entrypoints/openai/cli_args.py: "cannot be enabled at the same time")."""
_AUTO, _PARSER, _REASONING = "--enable-auto-tool-choice", "--tool-call-parser", "--reasoning-parser"
_TEMPLATE = "--chat-template"
_LANGUAGE_ONLY, _LIMIT = "--language-model-only", "--limit-mm-per-prompt"
_LIMITS_AS_JSON = "0.8.5"
"""Before, limits were written image=0,video=0 (nullable_kvs in vllm/engine/arg_utils.py)."""
TRUST = "--trust-remote-code"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the flags are for. version: of vLLM. given: the user's own flags by full name, with
    their values (`server_flags.given`); others: further flags that are decided elsewhere, such as
    by the load asked for. tools, trust_remote_code: as in DeploymentSpec. chat: the model has a
    chat template. omitted: what it takes beside text and is not to serve."""

    recipe: Recipe
    version: str
    given: Mapping[str, str] = field(default_factory=dict)
    others: Collection[str] = ()
    tools: bool = True
    trust_remote_code: bool | None = None
    chat: bool = True
    omitted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Flags:
    """arguments: in words, without the chat template. template: the file of the release's examples
    to name as one, or "". capabilities: of a server that is started like this. notes: what was
    omitted and why, a sentence each."""

    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    template: str = ""
    capabilities: Capabilities = field(default_factory=Capabilities)
    notes: tuple[str, ...] = ()

    @property
    def lessened(self) -> tuple[tuple[str, Capabilities], ...]:
        """(flag of a remedy in the rules, what the server can be asked for with it)."""
        without = replace(self.capabilities, reasoning=False, reasoning_parser="")
        return ((f"{_REASONING}=", without),) if self.capabilities.reasoning else ()


def choose(asked: Asked) -> Flags:
    """The flags for a model on a release."""
    if "--config" in asked.given:
        return _left_to_a_file(asked)
    return _Choosing(asked).flags()


def _left_to_a_file(asked: Asked) -> Flags:
    """The command line overrules what is in a file of the user's, so nothing is added to it."""
    capabilities = Capabilities(
        chat=asked.chat,
        tools=_is_on(asked.given, _AUTO),
        reasoning=_REASONING in asked.given,
        tool_parser=asked.given.get(_PARSER, ""),
        reasoning_parser=asked.given.get(_REASONING, ""),
    )
    note = "tools, reasoning and the model's own flags are left to your --config file"
    return Flags((), dict(asked.recipe.environment), "", capabilities, (note,))


def _is_on(given: Mapping[str, str], flag: str) -> bool:
    return flag in given and given[flag] != "no"


class _Choosing:
    """The parts in the order of their words."""

    def __init__(self, asked: Asked) -> None:
        self._asked, self._recipe, self._given = asked, asked.recipe, asked.given
        self._words: list[str] = []
        self._notes: list[str] = []
        self._template = ""

    def flags(self) -> Flags:
        self._trust()
        for words in _grouped(self._recipe.arguments):
            if words[0] != TRUST:
                self._add(*words)
        self._text_only()
        tool_parser = self._tools()
        reasoning_parser = self._reasoning(bool(tool_parser))
        self._add("--sse-keep-alive-interval", str(KEEP_ALIVE_S), wanted=False)
        self._add("--disable-access-log-for-endpoints", _POLLED, wanted=False)
        capabilities = Capabilities(
            chat=self._asked.chat,
            tools=bool(tool_parser),
            reasoning=bool(reasoning_parser),
            tool_parser=tool_parser,
            reasoning_parser=reasoning_parser,
            remote_code=TRUST in self._words or _is_on(self._given, TRUST),
        )
        environment = dict(self._recipe.environment)
        notes = tuple(self._notes)
        return Flags(tuple(self._words), environment, self._template, capabilities, notes)

    def _add(self, flag: str, *values: str, wanted: bool = True) -> None:
        """A flag, unless the user decides it; one that is not known here is said if `wanted`."""
        known_as = flag.partition("=")[0].partition(".")[0]
        if known_as.startswith("--no-"):
            known_as = f"--{known_as[5:]}"
        if known_as in self._given or known_as in self._asked.others:
            return
        if not knows("flag", known_as, self._asked.version):
            if wanted:
                self._omitted(" ".join((flag, *values)), "flag", known_as)
            return
        self._words += (flag, *values)

    def _omitted(self, what: str, kind: Kind, name: str) -> None:
        self._notes.append(f"omitted {what}: {ignorance(kind, name, self._asked.version)}")

    def _trust(self) -> None:
        if TRUST in self._given:
            return
        if self._asked.trust_remote_code:
            self._words.append(TRUST)
        elif self._recipe.trust_remote_code:
            self._notes.append(
                f"omitted {TRUST}: running the model's own code was not allowed, "
                "and the model may not start without it"
            )

    def _text_only(self) -> None:
        """Without the parts that the other modalities need, where the release can omit them."""
        modalities, version = self._asked.omitted, self._asked.version
        if not modalities or _LANGUAGE_ONLY in self._given or _LIMIT in self._given:
            return
        if knows("flag", _LANGUAGE_ONLY, version):
            self._words.append(_LANGUAGE_ONLY)
            return
        self._omitted(_LANGUAGE_ONLY, "flag", _LANGUAGE_ONLY)
        none = dict.fromkeys(modalities, 0)
        as_json = parse(version) >= parse(_LIMITS_AS_JSON)
        limit = json.dumps(none) if as_json else ",".join(f"{each}=0" for each in none)
        self._add(_LIMIT, limit, wanted=False)

    def _tools(self) -> str:
        """The name of the parser that is on, or ""."""
        theirs, version = self._given.get(_PARSER, ""), self._asked.version
        if not self._asked.tools or self._given.get(_AUTO) == "no":
            return theirs if _is_on(self._given, _AUTO) else ""
        name = self._given.get(_PARSER, self._recipe.tool_parser)
        if not name:
            return ""
        if not knows("flag", _AUTO, version):
            self._omitted("tools", "flag", _AUTO)
            return ""
        if not theirs and not knows("tool_parser", name, version):
            self._omitted(f"tools ({name})", "tool_parser", name)
            return ""
        self._add(_AUTO)
        if not theirs:
            self._words += (_PARSER, name)
            self._tool_template()
        self._add("--tool-strict-level", _STRICT, wanted=False)
        return name

    def _tool_template(self) -> None:
        name = self._recipe.chat_template
        if not name or _TEMPLATE in self._given:
            return
        if knows("template", name, self._asked.version):
            self._template = name
        else:
            self._omitted(f"{_TEMPLATE} {name}", "template", name)

    def _reasoning(self, tools: bool) -> str:
        """Likewise."""
        theirs, version = self._given.get(_REASONING, ""), self._asked.version
        name = self._given.get(_REASONING, self._recipe.reasoning_parser)
        if not name:
            return ""
        if not theirs and not knows("reasoning_parser", name, version):
            self._omitted(f"reasoning ({name})", "reasoning_parser", name)
            return ""
        if not theirs and tools and parse(version) < parse(_BOTH_SINCE):
            self._notes.append(
                f"omitted reasoning ({name}): vLLM {version} does not have it beside tools"
            )
            return ""
        if parse(version) < parse(_REASONING_SWITCH_UNTIL):
            self._add("--enable-reasoning")
        if not theirs:
            self._words += (_REASONING, name)
        return name


def _grouped(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """A recipe's words by flag: ("--a", "1"), ("--b",), ("--c=2",)."""
    group: list[str] = []
    for word in words:
        if word.startswith("--") and group:
            yield tuple(group)
            group = []
        group.append(word)
    if group:
        yield tuple(group)
