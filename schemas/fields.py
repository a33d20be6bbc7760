"""Fields to values: numbers, moments, lengths, lists, as marshmallow fields and small readers."""

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Any
from urllib.parse import quote

import marshmallow

from schemas.reading import Fields, Refusal, clean

EARLIEST, LATEST = datetime(2000, 1, 1), datetime(2100, 1, 1)  # a moment outside is a placeholder, not a moment


LONGEST_SECONDS = 2**31 - 1  # of the INTEGER columns


def _text_of(value: Any) -> str:
    """A leaf of Fields, which is clean already; a list says nothing where a scalar is meant."""
    return value if isinstance(value, str) else ""


class Text(marshmallow.fields.Field[str]):
    """Text cut to its column: longer is never an error, the inbox has the whole body."""

    def __init__(self, longest: int, **kwargs: Any) -> None:
        super().__init__(load_default="", **kwargs)
        self.longest = longest

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        return _text_of(value)[: self.longest]


class CallId(marshmallow.fields.Field[str]):
    """The call's id: the one thing that must be there. Kept as text whatever it came as."""

    longest = 128
    default_error_messages = {"required": "absent", "null": "absent", "too_long": "too_long"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=True, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = _text_of(value)
        if not text or text in ("None", "0"):
            raise self.make_error("required")
        if len(text) > self.longest:  # cutting it would make one call of two
            raise self.make_error("too_long")
        return text


class Moment(marshmallow.fields.Field[datetime | None]):
    """A wall clock moment `YYYY-MM-DD hh:mm:ss[.fff]`, or Unix seconds as an aware one; None for what is no moment."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(load_default=None, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime | None:
        text = _text_of(value)
        try:
            if text.isascii() and text.isdigit() and 9 <= len(text) <= 13:
                seconds = int(text) / 1000 if len(text) > 11 else int(text)  # 10^11 and more: milliseconds
                moment = datetime.fromtimestamp(seconds, UTC)
            else:
                moment = datetime.fromisoformat(text)
        except (ValueError, OverflowError):
            return None
        return moment if EARLIEST <= moment.replace(tzinfo=None) <= LATEST else None


class Seconds(marshmallow.fields.Field[int | None]):
    """A length in whole seconds, cut; None for what is negative, endless or no number."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(load_default=None, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int | None:
        text = _text_of(value)
        if len(text) > 20 or "_" in text:  # float() reads 1_0 as ten
            return None
        try:
            seconds = float(text)
        except ValueError:
            return None
        return int(seconds) if 0 <= seconds <= LONGEST_SECONDS else None


class Flag(marshmallow.fields.Field[bool | None]):
    """true/false in any of its spellings; None for anything else."""

    words = {"true": True, "1": True, "t": True, "yes": True, "false": False, "0": False, "f": False, "no": False}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(load_default=None, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool | None:
        return self.words.get(_text_of(value).lower())


class Texts(marshmallow.fields.Field[tuple[str, ...]]):
    """A list of scalars: an array, its text in quotes, or one scalar."""

    most = 1000

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(load_default=(), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            value = clean(value).strip("[]").split(",")
        return tuple(text for text in map(clean, value[: self.most]) if text)


class FeedSchema(marshmallow.Schema):
    """Base of the feeds' schemas: unknown keys are kept in the raw body and are never an error."""

    class Meta:
        unknown = marshmallow.EXCLUDE


def milliseconds(moment: datetime | None, zone: tzinfo) -> int | None:
    """A moment as milliseconds since 1970 UTC; one without a zone is `zone`'s wall clock."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return int(moment.timestamp() // 1) * 1000 + moment.microsecond // 1000


def phone(sent: str) -> str:
    """A number for matching: 7XXXXXXXXXX where it is Russian, else its own digits, else the text as sent.

    A DTMF tail (`74959268686...9.2.3.3`) is not part of the number.
    """
    head = sent.split("...", 1)[0].strip()
    if head.isascii() and head.isdigit():
        digits = head
    else:
        digits = "".join(c for c in head if c.isascii() and c.isdigit())
        if not digits or any(c.isalpha() for c in head) or "@" in head:
            return sent[:32]
    if len(digits) == 11 and digits[0] == "8":
        digits = "7" + digits[1:]
    elif len(digits) == 10 and head[0] != "+":
        digits = "7" + digits
    return digits[:32]


def joined(texts: tuple[str, ...], longest: int = 255) -> str:
    """Texts with commas between, as many whole ones as fit."""
    line = ",".join(texts)
    if len(line) > longest:
        line = line[: longest + 1]
        line = line[: line.rindex(",")] if "," in line else line[:longest]
    return line


def ascii_url(url: str) -> str:
    """A link as it can be opened: percent-encoded where it is not ASCII, cut to its column."""
    return (url if url.isascii() else quote(url, safe="%/:?#[]@!$&'()*+,;=~"))[:1024]


@cache
def _shape(schema: marshmallow.Schema) -> tuple[dict[str, Any], list[tuple[str, str, marshmallow.fields.Field[Any]]]]:
    """(what stands for the fields that may be absent; of each field our name, the key, the field)."""
    fields = schema.load_fields.items()
    defaults = {name: field.load_default for name, field in fields if not field.required}
    return defaults, [(name, field.data_key or name, field) for name, field in fields]


def load(schema: marshmallow.Schema, fields: Fields, refuse: Callable[[str, str], Refusal]) -> dict[str, Any]:
    """The schema's values. A field that must be there and is not becomes `refuse(field name, what)`.

    Not schema.load: most fields are absent from most notifications, and each costs it as much as one that is there."""
    defaults, shape = _shape(schema)
    keys = fields if len(shape) < 3 else fields.leaves  # of so few nothing need be flattened
    values = defaults.copy()
    for name, key, field in shape:
        value = keys.get(key, marshmallow.missing)
        if value is marshmallow.missing:
            if field.required:
                raise refuse(key, "absent")
            continue
        try:
            values[name] = field.deserialize(value, key, keys)
        except marshmallow.ValidationError as error:
            raise refuse(name, str(error.messages[0])) from None
    return values
