"""Requests to providers, against a stand-in that speaks their APIs. What 1C is answered: handlers/test_make_call.py."""

import json
from collections.abc import Iterator

import pytest

from providers import http, uis, xvb
from tests.rig.provider import Provider, provider, says

TOKEN = "a/secret+token"
REDIRECTS = (301, 302, 303, 307, 308)


@pytest.fixture
def there() -> Iterator[Provider]:
    with provider() as there:
        yield there


def uis_call(there: Provider) -> str:
    return uis.make_call(
        f"{there.url}/v4.0", TOKEN, line="74951234567", to="79201119613", employee_id="", employee_number="101", id=""
    )


def xvb_call(there: Provider) -> str:
    return xvb.make_call(f"{there.url}/crm", TOKEN, ext="101", to="79201119613")


each_provider = pytest.mark.parametrize("call", [uis_call, xvb_call], ids=["uis", "xvb"])


@each_provider
@pytest.mark.parametrize("status", REDIRECTS)
def test_a_redirect_is_not_followed_so_the_token_goes_nowhere_else(there: Provider, call, status: int):
    with provider() as elsewhere:
        there.answer = says(status, "", Location=f"{elsewhere.url}/")
        with pytest.raises(http.Unknown):
            call(there)
        assert elsewhere.asked == []
    assert len(there.asked) == 1


@pytest.mark.parametrize("spelled", [TOKEN, "a%2Fsecret%2Btoken", "a\\/secret+token", "\\u0061/secret+token"])
def test_a_token_is_hidden_however_the_answer_spells_it(there: Provider, spelled: str):
    there.answer = says(200, f'{{"error": {{"code": 1, "message": "token {spelled} is wrong"}}}}')
    with pytest.raises(http.Refused) as refused:
        uis_call(there)
    assert str(refused.value) == "token *** is wrong (код 1)"


def test_words_that_are_no_unicode_can_be_stored_and_answered(there: Provider):
    there.answer = says(200, '{"error": {"code": 1, "message": "нельзя \\ud83d"}}')
    with pytest.raises(http.Refused) as refused:
        uis_call(there)
    assert json.dumps(str(refused.value), ensure_ascii=False).encode()
    assert "нельзя" in str(refused.value)
