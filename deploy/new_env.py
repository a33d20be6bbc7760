"""Print a first .env: .env.example with a random key wherever a key is empty, and NAME=VALUE of the command line set."""

import re
import secrets
import sys
from pathlib import Path

said = (Path(__file__).resolve().parent.parent / ".env.example").read_text(encoding="utf-8")
for argument in sys.argv[1:]:
    name, _, value = argument.partition("=")
    said, found = re.subn(rf"(?m)^#?{re.escape(name)}=.*$", lambda _: f"{name}={value}", said)  # noqa: B023
    if found != 1:
        sys.exit(f"there is no setting {name} in .env.example")
print(re.sub(r"(?m)^(\w+(?:_KEY|_PASSWORD))=$", lambda m: f"{m[1]}={secrets.token_urlsafe(24)}", said), end="")
