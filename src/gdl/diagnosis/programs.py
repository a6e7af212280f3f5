"""Whose words a line, a traceback or a whole log is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from gdl.diagnosis.finder import Finder
from gdl.diagnosis.records import Record
from gdl.diagnosis.rules import EngineLog

_LINES = (
    (
        "ssh",
        r"^(?:ssh|scp|sftp|rsync|ssh_\w+|kex_\w+|client_loop|mux_\w+)\b(?:: |\()|"
        r"^\S+@\S+: Permission denied|^Host key |^channel \d+: open failed|banner exchange|"
        r"^(?:Connection|Disconnected|Received disconnect) \S* ?(?:closed|reset|from)|^debug\d: |"
        r"^Load key |^Warning: (?:Permanently added|Identity file )|UNPROTECTED PRIVATE KEY|"
        r"asyncssh|"
        r"REMOTE HOST IDENTIFICATION|paramiko|\bvia ssh: |^(?:remote )?port forwarding failed|"
        r"^(?:sign_and_send_pubkey|packet_write_wait|muxclient|unix_listener|mux_client_\w+): |"
        r"^(?:no such identity|Bad owner or permissions on|Warning: remote port forwarding)|"
        r"authentication agent|^Timeout, server |^Bad port ",
    ),
    (
        "docker",
        r"Error response from daemon|OCI runtime|^docker: |nvidia-container-cli|containerd|"
        r"failed to create (?:shim|task)|^runc|dockerd|ERROR: failed to solve|"
        r"Failed to pull image|exec user process caused|^exec /\S+: |^error from registry",
    ),
    (
        "uv",
        r"^\s*×|^\s*╰|^\s*├|^\s*│|^error: .* cause: |^\s+cause: |^error: (?:No interpreter |"
        r"Failed to |Request failed|No solution|The requested interpreter|unexpected argument|"
        r"invalid value|Git |Distribution )|"
        r"\bUV_[A-Z_]+\b|^error: .* \(os error \d+\) at path |^\s*uv (?:pip|venv)|"
        r"^hint: .*`--(?:index|pre|torch)",
    ),
    (
        "pip",
        r"pip\._(?:internal|vendor)|Could not find a version that satisfies|"
        r"No matching distribution|Could not install packages|pip's dependency resolver|"
        r"subprocess-exited-with-error|metadata-generation-failed|externally-managed-environment|"
        r"Failed building wheel|^\s*Looking in indexes|Failed to build installable wheels|"
        r"ResolutionImpossible|^ERROR: (?:Cannot uninstall|Invalid requirement|Could not open req)",
    ),
    ("apt", r"/var/lib/dpkg|^E: |^dpkg: |apt-get"),
    (
        "kernel",
        r"oom-kill|Out of memory: Killed|Xid|NVRM|segfault at|fallen off the bus|oom_reaper|"
        r"Memory cgroup out of memory",
    ),
    (
        "nccl",
        r"NCCL (?:WARN|INFO|error|Error|version)|nccl(?:System|Internal|Unhandled)|"
        r"ProcessGroupNCCL|Watchdog caught",
    ),
    (
        "shell",
        r"^(?:/bin/|/usr/bin/)?(?:ba|da|z)?sh: |: line \d+: |: command not found|^Killed$|"
        r"^Aborted|\(core dumped\)|^Segmentation fault|^Bus error|^Illegal instruction",
    ),
    (
        "hub",
        r"huggingface(?:_hub|\.co)|hf_xet|\bCAS\b|gated repo|hf\.co|"
        r"HF_(?:TOKEN|HUB|ENDPOINT|DEBUG)|"
        # Its command `hf`, which tells an error without a traceback.
        r"^Error: (?:Local entry not found|Access denied\. |Revision not found|File not found in |"
        r"(?:Model|Dataset|Space|Repository)(?: '[^']+')? not found|"
        r"(?:Client|Server) error '[45]\d\d |Invalid value\. |Not logged in\. |OIDC )",
    ),
    (
        "market",
        r"no_such_ask|No available nodes|API requests too frequent|instance_vanished|"
        r"SSH verification timeout|instance stopped unexpectedly|permanent SSH error",
    ),
)
_BY_LINE = {name: re.compile(pattern) for name, pattern in _LINES}
_FINDER = Finder(_LINES)
_BY_PATH = (
    ("hub", "huggingface_hub/"),
    ("hub", "transformers/utils/hub.py"),
    ("pip", "pip/_internal"),
    ("pip", "pip/_vendor"),
    ("transformers", "transformers/"),
    ("torch", "torch/"),
    ("triton", "triton/"),
    ("flashinfer", "flashinfer/"),
    ("ssh", "asyncssh/"),
    ("ssh", "paramiko/"),
    ("vllm", "vllm/"),
    ("sglang", "sglang/"),
)
_NOBODY: frozenset[str] = frozenset()
_DIGITS = dict.fromkeys(range(ord("0"), ord("9") + 1))


def whose(texts: Sequence[str]) -> list[frozenset[str]]:
    """Whose words each of these texts is, as far as it tells by itself."""
    found = [_NOBODY] * len(texts)
    for place, names in _FINDER.candidates(texts).items():
        text = texts[place]
        found[place] = frozenset(name for name in names if _BY_LINE[name].search(text))
    return found


def programs_of(record: Record, words: frozenset[str]) -> frozenset[str]:
    """Whose a record is. words: whose its text is."""
    names = set(words)
    if record.module:
        names |= {name for name, _ in _BY_PATH if record.module.split(".")[0].startswith(name)}
        if record.module.startswith("huggingface_hub"):
            names.add("hub")
    for frame in record.frames:
        names |= {name for name, path in _BY_PATH if path in frame.path}
    return frozenset(names)


def shape_of(text: str) -> str:
    """A line without its digits: what most lines of a log share with others."""
    return text.translate(_DIGITS)


class Recognizer:
    """Counts what engines and releases a log shows, line by line."""

    def __init__(self, logs: Sequence[EngineLog]) -> None:
        self._logs = logs
        self._counts: Counter[str] = Counter()
        self._shapes: dict[str, list[str]] = {}
        self.versions: dict[str, str] = {}

    def take(self, line: str) -> None:
        shape = shape_of(line)
        names = self._shapes.get(shape)
        if names is None:
            names = self._shapes[shape] = [log.name for log in self._logs if log.shows.search(line)]
            for log in self._logs:
                if log.name not in self.versions:
                    self._version(log, line)
        self._counts.update(names)

    def _version(self, log: EngineLog, line: str) -> None:
        for pattern in log.versions:
            if found := pattern.search(line):
                self.versions[log.name] = found["version"].rstrip(".")
                return

    def program(self, records: Iterable[Record]) -> str:
        """Whose log it is: the engine it shows most of, else the tool; "" when nothing tells."""
        if self._counts:
            return self._counts.most_common(1)[0][0]
        tools = Counter(name for record in records for name in sorted(record.programs))
        return tools.most_common(1)[0][0] if tools else ""

    @property
    def engines(self) -> frozenset[str]:
        """Whose rules are asked: those of the engines that it shows, and of what is built as they
        are."""
        like = {name for log in self._logs if log.name in self._counts for name in log.like}
        return frozenset(self._counts) | like
