#!/usr/bin/env bash
# Version: pydantic-settings==2.16.3
# Behaviour: pydantic-settings 2.16.3: `extra="forbid"` means three things for three sources.
#
# With `env_prefix="APP_"` and `extra="forbid"`:
#   - a mistyped variable in the environment (APP_MAXPRICE for APP_MAX_PRICE) is ignored in silence;
#   - the same line in a .env file is an error;
#   - so is a line of a .env file that has nothing to do with this program (OTHER=1), although it
#     lacks the prefix, and would be ignored in the environment.
# A limit on spending that was mistyped in the environment is not in force, and nobody says so.
#
# Seen: environment: accepted, .env: refused, foreign line of .env: refused
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q pydantic-settings==2.16.3
cat > "$folder/read.py" <<'P'
import os
import sys
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="APP_", extra="forbid")
    max_price: float | None = None


def told(file: Path | None) -> str:
    try:
        Settings(_env_file=file)
    except ValidationError:
        return "refused"
    return "accepted"


file = Path(sys.argv[1])
os.environ["APP_MAXPRICE"] = "1"
print("environment:", told(None))
del os.environ["APP_MAXPRICE"]
file.write_text("APP_MAXPRICE=1\n")
print(".env:", told(file))
file.write_text("OTHER=1\n")
print("foreign line of .env:", told(file))
P
said=$("$folder/env/bin/python" "$folder/read.py" "$folder/dotenv")
echo "$said"
diff <(echo "$said") - <<'E'
environment: accepted
.env: refused
foreign line of .env: refused
E
echo "as described"
