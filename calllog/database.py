"""Opening the call log, and bringing its tables up to this release."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from peewee import Database, MySQLDatabase, OperationalError, PeeweeException, SqliteDatabase
from playhouse.migrations import Runner

from calllog.errors import UNWRAPPED, translated
from config import Stop
from models import READABLE_BY, VERSION, SchemaInfo, Table
from server.sqlite import WAL_LIMIT, Connection, identity


class SqliteCallLog(SqliteDatabase):
    """SQLite: WAL so that readers never block the writer, FULL because a delivery marked forwarded must not outlive
    its row; every type as it is declared (see Key)."""

    field_types = {"BIGINT": "BIGINT", "BIGAUTO": "BIGINT", "SMALLINT": "SMALLINT", "INT": "INTEGER"}

    def __init__(self, path: Path, mode: str, **options: Any) -> None:
        self.path = path
        super().__init__(f"{path.absolute().as_uri()}?mode={mode}", uri=True, factory=Connection, **options)

    def _initialize_connection(self, conn: Any) -> None:
        conn.execute(
            "PRAGMA schema_version"
        )  # a file that was restored is made WAL just now, and has its -wal from here on
        conn.identity = identity(self.path)


class MysqlCallLog(MySQLDatabase):
    """MySQL or MariaDB, with the session settings that docs/decisions/0002-the-batch.md asks for. Whatever the driver
    raises comes out as an error of peewee's family, in a sentence."""

    def __init__(self, name: str, lock_wait: int, **options: Any) -> None:
        self.lock_wait = self.waits = lock_wait  # seconds that a new connection waits for a row; that this one does
        self.max_packet = 0  # the server's, in bytes: no statement may be longer
        super().__init__(name, **options)

    def _connect(self) -> Any:
        try:
            return super()._connect()  # type: ignore[misc]
        except Exception as error:  # of the network, of the login, or of the driver's own reading: it is away
            raise translated(error) from error

    def _initialize_connection(self, conn: Any) -> None:
        with conn.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            cursor.execute(
                "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION', "
                f"SESSION innodb_lock_wait_timeout = {self.lock_wait}"
            )
            self.waits = self.lock_wait
            cursor.execute("SELECT @@max_allowed_packet")
            self.max_packet = int(cursor.fetchone()[0])

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        try:
            return super().execute_sql(sql, params)
        except (PeeweeException, *UNWRAPPED) as error:
            raise translated(error) from error

    def commit(self) -> Any:
        try:
            return super().commit()
        except (PeeweeException, *UNWRAPPED) as error:
            raise translated(error) from error


def wait_for_locks(db: Database, longest: bool) -> None:
    """Whether statements of this connection wait for a row that is locked as long as they may, or as briefly as the server
    can: not at all on MariaDB, a second on MySQL. SQLite locks no rows."""
    if isinstance(db, MysqlCallLog):
        seconds = db.lock_wait if longest else 0 if _is_mariadb(db) else 1
        if seconds != db.waits:
            db.execute_sql(f"SET SESSION innodb_lock_wait_timeout = {seconds}")
            db.waits = seconds


def _is_mariadb(db: MysqlCallLog) -> bool:
    return "MariaDB" in str(db.connection().server_version)


_MYSQL_URL = (
    "sqlite:///<path> or mysql://user:password@host:port/name?ssl_ca=<file>; in the password @ is written as %40, "
    "/ as %2F, # as %23, ? as %3F, : as %3A, % as %25"
)


def parse_url(url: str) -> tuple[str, dict[str, Any]]:
    """DATABASE_URL as (database, options of its driver). ValueError, in words for the sysadmin, for what it is not."""
    try:
        parts = urlsplit(url)
        port = parts.port or 3306
    except ValueError:  # a / # or [ of the password: the error would quote it
        raise ValueError(_MYSQL_URL) from None
    if parts.scheme == "sqlite":
        path = unquote(url.removeprefix("sqlite://")).removeprefix("/")
        if not path or "?" in path:
            raise ValueError("sqlite:///<path of the file>")
        return path, {}
    name = unquote(parts.path.removeprefix("/"))
    query = parse_qs(parts.query)
    if parts.scheme not in ("mysql", "mariadb") or not parts.hostname or not name or set(query) - {"ssl_ca"}:
        raise ValueError(_MYSQL_URL)
    options: dict[str, Any] = {
        "host": parts.hostname,
        "port": port,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
    }
    if "ssl_ca" in query:
        options["ssl_ca"] = query["ssl_ca"][0]
    return name, options


def open_database(url: str, create: bool = False, patience: int = 10, lock_wait: int = 10) -> Database:
    """The call log at `url`, not connected yet; peewee keeps one connection a thread. A SQLite file is made only with
    `create` (by `pbx-connector db upgrade`): the forwarder must not put an empty file where a restore is under way.
    `patience` is the longest wait for the database in seconds, `lock_wait` that for a row which somebody has locked
    (MySQL)."""
    name, options = parse_url(url)
    if options:
        options |= {"read_timeout": patience, "write_timeout": patience, "connect_timeout": min(3, patience)}
        if create:  # DDL on a big table takes its time
            options |= {"read_timeout": 3600, "write_timeout": 3600}
        return MysqlCallLog(name, lock_wait, **options)
    if create:
        Path(name).parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    elif not Path(name).exists():
        raise OperationalError(f"there is no call log at {name}: run pbx-connector db upgrade")
    return SqliteCallLog(
        Path(name),
        "rwc" if create else "rw",
        cached_statements=8,  # a batch's statements are hundreds of KiB each when prepared
        timeout=patience,
        pragmas={"journal_mode": "wal", "synchronous": "full", "secure_delete": "on", "journal_size_limit": WAL_LIMIT},
    )


def same_file(db: Database) -> bool:
    """Whether a connected SQLite call log is still the file at its path: one that was moved, removed or replaced goes on
    taking what is written, without an error. Always True on MySQL."""
    return not isinstance(db, SqliteCallLog) or db.connection().identity == identity(db.path)


def on_mysql(db: Database) -> bool:
    """Whether the call log is on MySQL or MariaDB; if not, it is on SQLite."""
    return isinstance(db, MySQLDatabase)


def transaction(db: Database) -> AbstractContextManager[Any]:
    """A transaction that may write. On SQLite it takes the write lock at once: one that reads first and writes later fails
    as soon as another has written in between."""
    manager: AbstractContextManager[Any] = db.atomic() if on_mysql(db) else db.atomic("IMMEDIATE")
    return manager


HISTORY = "schema_migrations"
RELEASES = {"0.1.0": 1}  # release -> the schema version that it writes, for whoever goes back by name
MIGRATIONS = Path(__file__).parent.parent / "deploy" / "migrations"


def create(db: Database, table: type[Table]) -> None:
    """The table and those of its indexes that are missing (peewee alone would skip the indexes of a table that is
    there, and MySQL commits each statement by itself: a crash in between would leave it without them)."""
    statement = table._schema._create_table(safe=True)
    if on_mysql(db):
        comment = (table.__doc__ or "").replace("'", "''")
        statement.literal(f" ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci COMMENT='{comment}'")
    db.execute(statement)
    present = {index.name for index in db.get_indexes(table._meta.table_name)}
    for index in table._meta.fields_to_index():
        if index._name not in present:
            db.execute(table._schema._create_index(index, safe=False))


class Schema(NamedTuple):
    """schema_info's row. `version` is of the release that made the tables, 0 where there are none and while a migration
    back is under way; `readable_by` the lowest version whose release may write them as they are."""

    version: int = 0
    readable_by: int = 0

    @property
    def writable(self) -> bool:
        """Whether this release may write to the call log."""
        return self.version == VERSION or self.readable_by <= VERSION < self.version


def schema(db: Database) -> Schema:
    """What the call log says of its schema, locking nothing."""
    row = db.execute_sql("SELECT * FROM schema_info WHERE id = 1").fetchone()
    if row is None:
        return Schema()
    return Schema(row[1], row[2] if len(row) > 2 else row[1])  # version 1 had no readable_by: its release alone


def present_schema(db: Database) -> Schema:
    """The same where the tables may not have been made yet."""
    return schema(db) if db.table_exists("schema_info") else Schema()


def upgrade(url: str, log: Callable[[str], None]) -> list[str]:
    """Apply what is missing, one process at a time on each database; returns the names of the applied migrations. A newer
    call log that this release may write to is left as it is. Raises peewee's errors, and Stop for any other newer one."""
    db = open_database(url, create=True)
    with alone(db), db.connection_context():
        found = present_schema(db)
        if found.version > VERSION:
            if found.writable:
                return []
            raise Stop(
                f"the call log has schema version {found.version}, this release knows {VERSION}: install the newer one"
            )
        runner = Runner(db, str(MIGRATIONS), table_name=HISTORY)
        create(db, runner.History)
        applied: list[str] = runner.up()
        for name in applied:
            log(f"applied {name}")
        made = {"version": VERSION, "readable_by": READABLE_BY}
        SchemaInfo.update(**made).where(SchemaInfo.id == 1, SchemaInfo.version < VERSION).execute(db)
    return applied


def downgrade(url: str, version: int, log: Callable[[str], None]) -> list[str]:
    """Take migrations back until a release of this schema version may write; returns the names of those taken back.

    Nobody writes meanwhile: the version is 0 until it is done, and what was broken off is finished by the next try (or
    undone by `upgrade`). Raises Stop before anything is changed.
    """
    db = open_database(url, create=True)
    with alone(db), db.connection_context():
        runner = Runner(db, str(MIGRATIONS), table_name=HISTORY)
        applied = [row for row in runner.status() if row.applied]
        if not applied:
            raise Stop("there is no call log there: run pbx-connector db upgrade")
        found = present_schema(db)
        if found.version > VERSION:
            raise Stop(f"the call log has schema version {found.version}: only its own release knows the way back")
        if version < 1 or (found.version and found.version < version):
            raise Stop(f"the call log has schema version {found.version}, there is none of {version} to go back to")
        if found.version and found.readable_by <= version:
            return []  # that release writes these tables as they are
        later = [row for row in applied if row.idx > version]
        without = [row.name for row in later if row.path is None or not hasattr(row.load(), "down")]
        if without:
            raise Stop(f"{', '.join(without)} cannot be taken back")
        SchemaInfo.update(version=0).where(SchemaInfo.id == 1).execute(db)
        back: list[str] = runner.down(later[0].name) if later else []
        for name in back:
            log(f"took back {name}")
        SchemaInfo.update(version=version, readable_by=version).where(SchemaInfo.id == 1).execute(db)
    return back


def add_missing(db: Database, table: type[Table]) -> None:
    """Columns of the model that its table lacks, one statement each, so that a crash leaves nothing that repeating does not
    finish; at the table's end, where no database rewrites it."""
    name = table._meta.table_name
    there = {column.name for column in db.get_columns(name)}
    for field in table._meta.sorted_fields:
        if field.column_name not in there:
            context = db.get_sql_context()
            db.execute(context.literal(f"ALTER TABLE {name} ADD COLUMN ").sql(field.ddl(context)))


LAST_DIGITS = 4  # of a client's number that have an index


def index_last_digits(db: Database) -> None:
    """An index by the last digits of a client's number, which the database keeps itself, whatever release writes: of an
    expression on SQLite, of a generated column on MySQL (MariaDB has no index of an expression). The model has no such
    column, and SELECT * does not show it where the server knows columns that are invisible."""
    name, index = "client_last_digits", "calls_client_last_digits"
    if on_mysql(db):
        if name not in {column.name for column in db.get_columns("calls")}:
            comment = f"Последние {LAST_DIGITS} цифры номера клиента, для поиска: заполняет сама база"
            db.execute_sql(
                f"ALTER TABLE calls ADD COLUMN {name} VARCHAR({LAST_DIGITS}) "
                f"AS (RIGHT(client_number, {LAST_DIGITS})) STORED COMMENT '{comment}' "
                "/*!80023 INVISIBLE */ /*M!100300 INVISIBLE */"
            )
        if index not in {there.name for there in db.get_indexes("calls")}:
            db.execute_sql(f"CREATE INDEX {index} ON calls ({name})")
    else:
        db.execute_sql(f"CREATE INDEX IF NOT EXISTS {index} ON calls (substr(client_number, -{LAST_DIGITS}))")


def migrations(url: str) -> list[tuple[str, Any]]:
    """(name, when applied or None) of every migration of this release and of the database."""
    db = open_database(url)
    with db.connection_context():
        rows = Runner(db, str(MIGRATIONS), table_name=HISTORY).status()
        return [(row.name, row.applied) for row in rows]


@contextmanager
def alone(db: Database) -> Iterator[None]:
    """The one process that upgrades or fills this call log: a lock of the server's, or of the file's (peewee's runner
    takes none)."""
    if on_mysql(db):
        with db.connection_context():
            name = f"{db.database}.upgrade"[:64]
            if db.execute_sql("SELECT GET_LOCK(%s, 300)", (name,)).fetchone()[0] != 1:
                raise OperationalError("another upgrade holds the lock for more than five minutes")
            # the lock belongs to this connection: the upgrade runs on it too (peewee nests connection_context)
            try:
                yield
            finally:
                db.execute_sql("SELECT RELEASE_LOCK(%s)", (name,))
    else:
        path = unquote(urlsplit(db.database).path)
        with open(f"{path}.upgrade", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
