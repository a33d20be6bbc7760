"""XVB VirtualPBX: makeCall, a form posted to the address of the customer's PBX."""

from providers import http


def make_call(url: str, token: str, *, ext: str, to: str) -> str:
    """Connect extension `ext` with the number `to` (digits) and return the answer's text. The answer is not documented:
    any 2xx is success. Raises http.Refused and http.Unknown."""
    status, text = http.post(url, token, data={"token": token, "cmd": "makeCall", "from": ext, "to": to})
    if not 200 <= status < 300:
        raise http.failure(status, text)
    return text
