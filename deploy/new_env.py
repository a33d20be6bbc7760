"""Print a first .env: .env.example with a random key wherever a key is empty."""

import re
import secrets
from pathlib import Path

example = (Path(__file__).resolve().parent.parent / ".env.example").read_text(encoding="utf-8")
print(re.sub(r"(?m)^(\w+(?:_KEY|_PASSWORD))=$", lambda m: f"{m[1]}={secrets.token_urlsafe(24)}", example), end="")
