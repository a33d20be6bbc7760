"""The call log on MySQL to standard output: dump.py PROGRAM (mariadb-dump, mysqldump). The password: by the environment."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import schemas
from calllog import database
from config import load

database, options = database.parse_url(load(schemas.zones(), database.parse_url).database_url)
where = [
    f"--{name.replace('_', '-')}={options[name]}" for name in ("host", "port", "user", "ssl_ca") if name in options
]
os.execve(  # noqa: S606
    sys.argv[1],
    [sys.argv[1], *where, "--single-transaction", "--no-tablespaces", database],
    {**os.environ, "MYSQL_PWD": options["password"]},
)
