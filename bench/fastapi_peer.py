# mypy: ignore-errors
"""The peer in the other stack: FastAPI + uvicorn (uvloop, httptools) + pydantic + SQLAlchemy, a synchronous session in
the thread pool, one commit a request, the same durability. PEER_DATABASE_URL names the database.

`python -m bench.fastapi_peer create` makes its table; `… serve PORT SOCKET WORKERS` serves on both.
"""

import hmac
import os
import socket
import sys

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, String, Text, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from uvicorn.supervisors import Multiprocess

KEY = os.environ.get("UIS_KEY", "").encode()
URL = os.environ["PEER_DATABASE_URL"].replace("mysql://", "mysql+pymysql://")
engine = create_engine(URL, pool_size=40, max_overflow=0)

if URL.startswith("sqlite"):

    @event.listens_for(engine, "connect")
    def durable(connection, _):
        """WAL and FULL, as the connector's inbox and call log."""
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")


class Said(BaseModel):
    """The fields of «Завершение звонка»."""

    call_session_id: int
    notification_name: str = ""
    direction: str = ""
    start_time: str = Field("", alias="Start_time")
    finish_time: str = ""
    virtual_phone_number: str = ""
    called_phone_number: str = ""
    calling_phone_number: str = ""
    employee_phone_number: str = ""
    extension_phone_number: str = ""
    employee_ids: list[int] = []
    contact_id: int | None = None
    contact_full_name: str = ""
    total_time_duration: int | None = None
    wait_time_duration: int | None = None
    finish_reason: str = ""
    is_lost: bool | None = None
    lost_reason: str | None = None
    full_record_file_link: str | None = None
    wav_call_records: list[str] | None = None
    external_id: str | None = None
    call_source: str = ""
    scenario_name: str = ""


class Base(DeclarativeBase):
    """The peer's tables."""


class Notification(Base):
    """One table, one row a notification."""

    __tablename__ = "notification"

    id: Mapped[int] = mapped_column(primary_key=True)
    call_session_id: Mapped[int] = mapped_column(BigInteger, index=True)
    notification_name: Mapped[str] = mapped_column(String(255))
    direction: Mapped[str] = mapped_column(String(8))
    start_time: Mapped[str] = mapped_column(String(32))
    finish_time: Mapped[str] = mapped_column(String(32))
    virtual_phone_number: Mapped[str] = mapped_column(String(32))
    called_phone_number: Mapped[str] = mapped_column(String(32))
    calling_phone_number: Mapped[str] = mapped_column(String(32))
    employee_phone_number: Mapped[str] = mapped_column(String(32))
    extension_phone_number: Mapped[str] = mapped_column(String(32))
    employee_ids: Mapped[str] = mapped_column(String(255))
    contact_id: Mapped[int | None] = mapped_column(BigInteger)
    contact_full_name: Mapped[str] = mapped_column(String(255))
    total_time_duration: Mapped[int | None]
    wait_time_duration: Mapped[int | None]
    finish_reason: Mapped[str] = mapped_column(String(255))
    is_lost: Mapped[bool | None]
    lost_reason: Mapped[str | None] = mapped_column(String(255))
    full_record_file_link: Mapped[str | None] = mapped_column(Text)
    wav_call_records: Mapped[str | None] = mapped_column(Text)
    external_id: Mapped[str | None] = mapped_column(String(255))
    call_source: Mapped[str] = mapped_column(String(64))
    scenario_name: Mapped[str] = mapped_column(String(255))


app = FastAPI()


@app.get("/healthz")
def healthz():
    """It is up."""
    return "ok"


@app.post("/hs/UIScom/{route}")
def notification(route: str, said: Said, key: str = ""):
    """Check the key, insert, commit, answer."""
    if not hmac.compare_digest(key.encode(), KEY):
        raise HTTPException(401)
    row = said.model_dump()
    row["employee_ids"] = ",".join(map(str, said.employee_ids))
    row["wav_call_records"] = None if said.wav_call_records is None else ",".join(said.wav_call_records)
    with Session(engine) as session:
        session.add(Notification(**row))
        session.commit()
    return {"status": "accepted"}


def serve(port: int, path: str, workers: int) -> None:
    """uvicorn's own supervisor on two sockets (its command line knows only one at a time)."""
    config = uvicorn.Config(
        "bench.fastapi_peer:app", workers=workers, access_log=False, log_level="warning", timeout_keep_alive=30
    )
    tcp, unix = socket.socket(), socket.socket(socket.AF_UNIX)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind(("127.0.0.1", port))
    unix.bind(path)
    for listening in (tcp, unix):
        listening.listen(2048)
        listening.set_inheritable(True)
    Multiprocess(config, sockets=[tcp, unix]).run()


if __name__ == "__main__":
    if sys.argv[1] == "create":
        Base.metadata.create_all(engine)
    else:
        serve(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
