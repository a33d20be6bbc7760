"""The tables of docs/contract.md section 2. Repeatable: whatever is already there stays."""

import secrets
from typing import Any

import models
from calllog import database

atomic = False  # DDL commits by itself on MySQL, so a crash may leave any of these steps done: each looks first


def up(migrator: Any, db: Any) -> None:
    with db.bind_ctx(models.TABLES):
        for table in models.TABLES:
            database.create(db, table)
    counter, version = models.ChangeCounter, models.SchemaInfo
    if not counter.select().exists(db):
        counter.insert(id=1, incarnation=secrets.token_hex(16)).execute(db)
    if not version.select().exists(db):
        version.insert(id=1, version=0).execute(db)
