"""A simulated vLLM server: a real process on a real port, with made-up answers.

Runs alone (`python -I -S`). Short, because what is in the modules beside it is compiled once.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from vllm_start import main  # type: ignore[import-not-found]

main()
