"""XVB VirtualPBX (its settings page calls the integration CommonCRM): /crm-api, form-encoded, or JSON by a setting.

The document is an OCR text with damaged names; the real ones have underscores. Its only documented status is `Success`.
"""

from schemas.crm import Crm, Schema
from schemas.reading import Form

PROVIDER = "xvb"
FORM = Form(body="«Webhooks»", url="«WebHook URL»", call_id="callid")
ADDRESS = "/crm-api"
TELLS_TIME = False

CRM = Crm(PROVIDER, FORM, "XVB", Schema(), commands=("event",))
recognise, understand = CRM.recognise, CRM.understand
