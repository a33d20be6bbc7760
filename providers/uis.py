"""UIS Call API v4.0, JSON-RPC (uiscom.ru/academiya/spravochnyj-centr/dokumentatsiya-api/call_api)."""

import json
from typing import Any

from providers import http


def make_call(url: str, token: str, *, line: str, to: str, employee_id: str, employee_number: str, id: str) -> str:
    """Connect an employee with the number `to` through the virtual number `line` (both digits) and return UIS's
    call_session_id: by start.employee_call where `employee_id` is known, else by start.simple_call with his number.
    `id` ("": none) comes back in UIS's reports as external_id. Raises http.Refused and http.Unknown."""
    params: dict[str, Any] = {
        "access_token": token,
        "direction": "out",
        "contact": to,
        "virtual_phone_number": line,
    }
    if id:
        params["external_id"] = id
    if employee_id:
        method, params["first_call"] = "start.employee_call", "employee"
        params["employee"] = {"id": int(employee_id), **({"phone_number": employee_number} if employee_number else {})}
    else:
        method, params["first_call"], params["operator"] = "start.simple_call", "operator", employee_number
    status, text = http.post(url, token, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    return _call_id(status, text, token)


def _call_id(status: int, text: str, token: str) -> str:
    try:
        answer = json.loads(text)
        error = answer.get("error")
        if error:
            words = f"{error.get('message', '')} (код {error.get('code', '?')})"
            raise http.Refused(http.hidden(words, token))  # again: JSON may have spelled the token with \\ escapes
        call_id = str(answer["result"]["data"]["call_session_id"])
        if not (call_id.isascii() and call_id.isdigit()):
            raise ValueError(call_id)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        if status >= 400:
            raise http.failure(status, text) from None
        raise http.Unknown(f"непонятный ответ «{text[:200]}»") from None
    return call_id
