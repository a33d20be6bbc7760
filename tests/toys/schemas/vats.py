"""A relative of XVB's, as Megafon's and Gravitel's PBXs are: an event's type stands in `type`, the key in `crm_token`."""

from schemas import event as words
from schemas.crm import KIND_OF_EVENT, Crm, Schema
from schemas.fields import Text
from schemas.reading import Form

PROVIDER = "vats"
ADDRESS = "/vats"
FORM = Form(body="«Адрес вашей CRM»", url="«Адрес вашей CRM»", call_id="callid")
TELLS_TIME = False  # but the history's start
KEY_FIELD = "crm_token"


class Names(Schema):
    """What the family calls otherwise here."""

    line = Text(64, data_key="diversion")
    link = Text(1024)


KINDS = KIND_OF_EVENT | {"accepted": words.ANSWERED}
CRM = Crm(PROVIDER, FORM, "АТС", Names(), event_field="type", kinds=KINDS)
recognise, understand = CRM.recognise, CRM.understand
