# mypy: ignore-errors
"""The plain handler as people write it: Flask + marshmallow + peewee, one insert and one commit a request, the
connection kept by each thread. PEER_DATABASE_URL names the database; `python -m bench.plain` makes its table."""

import hmac
import os

from flask import Flask, jsonify, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, pre_load
from peewee import BigIntegerField, BooleanField, CharField, IntegerField, Model, TextField
from playhouse.db_url import connect

KEY = os.environ.get("UIS_KEY", "").encode()
URL = os.environ["PEER_DATABASE_URL"]
options = {"pragmas": {"journal_mode": "wal", "synchronous": "full"}} if os.environ.get("PEER_WAL") else {}
if URL.startswith("mysql"):
    options = {"charset": "utf8mb4"}
db = connect(URL, **options)


class NotificationSchema(Schema):
    """The fields of «Завершение звонка»."""

    class Meta:
        unknown = EXCLUDE

    call_session_id = fields.Integer(required=True)
    notification_name = fields.String(load_default="")
    direction = fields.String(load_default="")
    start_time = fields.String(load_default="")
    finish_time = fields.String(load_default="")
    virtual_phone_number = fields.String(load_default="")
    called_phone_number = fields.String(load_default="")
    calling_phone_number = fields.String(load_default="")
    employee_phone_number = fields.String(load_default="")
    extension_phone_number = fields.String(load_default="")
    employee_ids = fields.List(fields.Integer(), load_default=list)
    contact_id = fields.Integer(load_default=None, allow_none=True)
    contact_full_name = fields.String(load_default="")
    total_time_duration = fields.Integer(load_default=None, allow_none=True)
    wait_time_duration = fields.Integer(load_default=None, allow_none=True)
    finish_reason = fields.String(load_default="")
    is_lost = fields.Boolean(load_default=None, allow_none=True)
    lost_reason = fields.String(load_default=None, allow_none=True)
    full_record_file_link = fields.String(load_default=None, allow_none=True)
    wav_call_records = fields.List(fields.String(), load_default=None, allow_none=True)
    external_id = fields.String(load_default=None, allow_none=True)
    call_source = fields.String(load_default="")
    scenario_name = fields.String(load_default="")

    @pre_load
    def start(self, data, **_):
        data["start_time"] = data.pop("Start_time", "")
        return data


class Notification(Model):
    """One table, one row a notification."""

    call_session_id = BigIntegerField(index=True)
    notification_name = CharField()
    direction = CharField(8)
    start_time = CharField(32)
    finish_time = CharField(32)
    virtual_phone_number = CharField(32)
    called_phone_number = CharField(32)
    calling_phone_number = CharField(32)
    employee_phone_number = CharField(32)
    extension_phone_number = CharField(32)
    employee_ids = CharField()
    contact_id = BigIntegerField(null=True)
    contact_full_name = CharField()
    total_time_duration = IntegerField(null=True)
    wait_time_duration = IntegerField(null=True)
    finish_reason = CharField()
    is_lost = BooleanField(null=True)
    lost_reason = CharField(null=True)
    full_record_file_link = TextField(null=True)
    wav_call_records = TextField(null=True)
    external_id = CharField(null=True)
    call_source = CharField(64)
    scenario_name = CharField()

    class Meta:
        database = db


SCHEMA = NotificationSchema()
app = Flask(__name__, static_folder=None)


@app.get("/healthz")
def healthz():
    """It is up."""
    return "ok"


@app.post("/hs/UIScom/<route>")
def notification(route):
    """Check the key, load, insert, commit, answer."""
    if not hmac.compare_digest(request.args.get("key", "").encode(), KEY):
        return jsonify(error="wrong key"), 401
    try:
        said = SCHEMA.load(request.get_json())
    except ValidationError as error:
        return jsonify(error=error.messages), 400
    said["employee_ids"] = ",".join(map(str, said["employee_ids"]))
    if said["wav_call_records"] is not None:
        said["wav_call_records"] = ",".join(said["wav_call_records"])
    db.connect(reuse_if_open=True)
    with db.atomic():
        Notification.create(**said)
    return jsonify(status="accepted")


if __name__ == "__main__":
    db.create_tables([Notification])
