"""A simulated vLLM server: a real process on a real port, with made-up answers.

What its machine is like stands in `$SIM_ROOT/machine.json`.

Runs alone (`python -I -S`). Short, because what is in the modules beside it is compiled once.
"""

import os
import sys
from pathlib import Path

# The folder that this one lies in: its files are a package of their own there.
sys.path.append(str(Path(__file__).resolve().parent.parent))

from programs.vllm_host import Host  # type: ignore[import-not-found]
from programs.vllm_start import main  # type: ignore[import-not-found]

main(Host.read(Path(os.environ["SIM_ROOT"])))
