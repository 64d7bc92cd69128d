"""Control messages: read, and refused in the exchange's words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.exchange.control import Refusal, read_request, refuse, reply


@pytest.mark.parametrize(
    "request_id",
    [0, 1, -5, 2**63 - 1, None, "abc9", "a" * 36, "6f1c2a4e-94c7-4f0e-8f39-0d5a3b0d6a11"],
)
def test_ids_of_all_kinds_come_back_as_they_were(request_id: object) -> None:
    text = json.dumps({"method": "SUBSCRIBE", "params": ["a@kline_1m"], "id": request_id})
    request = read_request(text.encode())
    assert request == ("SUBSCRIBE", ["a@kline_1m"], request_id)
    assert json.loads(reply(None, request.id)) == {"result": None, "id": request_id}


@pytest.mark.parametrize(
    ("text", "code", "message", "request_id"),
    [
        ("x", 3, "Invalid JSON: expected value at line 1 column 1", None),
        ('{"a":\n  oops}', 3, "Invalid JSON: expected value at line 2 column 3", None),
        ('{"method":', 3, "Invalid JSON: expected value at line 1 column 11", None),
        ("[1]", 2, "Invalid request: expected an object", None),
        ('{"id":4}', 2, "Invalid request: missing field `method` at line 1 column 8", 4),
        ('{"method":"JUMP","id":1}', 2, "unknown variant `JUMP`, expected one of `SUBSCRIBE`, ", 1),
        ('{"method":"SUBSCRIBE","id":true}', 2, "request ID must be an unsigned integer", None),
        ('{"method":"SUBSCRIBE","id":1.5}', 2, "request ID must be an unsigned integer", None),
        (f'{{"method":"SUBSCRIBE","id":{2**63}}}', 2, "request ID must be an unsigned", None),
        (f'{{"method":"SUBSCRIBE","id":"{"a" * 37}"}}', 2, "request ID must be an unsigned", None),
        ('{"method":"SUBSCRIBE","params":"a","id":1}', 2, "expected a sequence", 1),
        ('{"method":"LIST_SUBSCRIPTIONS","params":["a"],"id":1}', 2, "too many parameters", 1),
        ('{"method":"GET_PROPERTY","params":["a","b"],"id":1}', 2, "too many parameters", 1),
    ],
)
def test_a_bad_message_is_refused_in_the_nested_form(
    text: str, code: int, message: str, request_id: object
) -> None:
    with pytest.raises(Refusal) as caught:
        read_request(text.encode())
    answer = json.loads(refuse(caught.value))
    assert answer["error"]["code"] == code
    assert message in answer["error"]["msg"]
    assert answer["id"] == request_id


@given(
    st.binary(max_size=80)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["method", "params", "id", "x"]), inner, max_size=4)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_bytes_raise_anything_but_a_refusal(text: bytes) -> None:
    answer = b'{"error":{"msg":"read"}}'
    try:
        read_request(text)
    except Refusal as refusal:
        answer = refuse(refusal)
    assert json.loads(answer)["error"]["msg"]
