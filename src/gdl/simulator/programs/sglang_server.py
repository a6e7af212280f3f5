"""A simulated SGLang server: a real process on a real port, with made-up answers.

Runs alone (`python -I -S`), as the simulated vLLM beside it does, whose API it shares.
"""

import os
import sys
from pathlib import Path

# The folder that this one lies in: its files are a package of their own there.
sys.path.append(str(Path(__file__).resolve().parent.parent))

from programs.sglang_start import main  # type: ignore[import-not-found]
from programs.vllm_host import Host  # type: ignore[import-not-found]

main(Host.read(Path(os.environ["SIM_ROOT"])))
