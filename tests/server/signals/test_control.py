"""Control messages: what is read, and Binance's error form for the rest."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.signals.control import (
    METHODS,
    PARAMS_MAX,
    ControlError,
    error_reply,
    parse_request,
    result_reply,
)


@pytest.mark.parametrize("request_id", [1, 0, -1, 2**63 - 1, "abc-123", None])
def test_a_request_is_read_with_any_id_binance_allows(request_id: int | str | None) -> None:
    text = json.dumps({"method": "SUBSCRIBE", "params": ["btcusdt@ticker"], "id": request_id})
    request = parse_request(text)
    assert (request.method, request.params, request.id) == (
        "SUBSCRIBE",
        ("btcusdt@ticker",),
        request_id,
    )


@pytest.mark.parametrize(
    ("text", "code", "part"),
    [
        ("", 3, "Invalid JSON"),
        ("{", 3, "Invalid JSON"),
        ("[" * 5000, 3, "Invalid JSON"),
        (b"\xff\xfe", 3, "Invalid JSON"),
        ("[]", 2, "expected an object"),
        ("null", 2, "expected an object"),
        ('{"id":1}', 2, "missing field `method`"),
        ('{"method":"subscribe"}', 2, "unknown variant `subscribe`, expected one of `SUBSCRIBE`"),
        ('{"method":7}', 2, "unknown variant"),
        ('{"method":"SUBSCRIBE"}', 2, "at least one stream"),
        ('{"method":"SUBSCRIBE","params":"x"}', 2, "array of strings"),
        ('{"method":"SUBSCRIBE","params":[1]}', 2, "array of strings"),
        ('{"method":"LIST_SUBSCRIPTIONS","params":["a"]}', 2, "too many parameters"),
        ('{"method":"SUBSCRIBE","params":["a"],"id":1.5}', 2, "request ID"),
        ('{"method":"SUBSCRIBE","params":["a"],"id":true}', 2, "request ID"),
        ('{"method":"SUBSCRIBE","params":["a"],"id":[]}', 2, "request ID"),
        (json.dumps({"method": "SUBSCRIBE", "params": ["a"], "id": "x" * 37}), 2, "request ID"),
        (
            json.dumps({"method": "SUBSCRIBE", "params": ["a"] * (PARAMS_MAX + 1)}),
            2,
            "too many parameters",
        ),
    ],
)
def test_a_bad_request_is_refused_with_binances_code(
    text: str | bytes, code: int, part: str
) -> None:
    with pytest.raises(ControlError) as caught:
        parse_request(text)
    assert caught.value.code == code
    assert part in str(caught.value)


def test_a_refusal_carries_the_id_of_its_request_in_the_nested_form() -> None:
    with pytest.raises(ControlError) as caught:
        parse_request('{"method":"NOPE","id":7}')
    reply = json.loads(error_reply(caught.value))
    assert set(reply) == {"error", "id"}
    assert (reply["id"], reply["error"]["code"]) == (7, 2)


def test_results_are_binances() -> None:
    assert result_reply(1) == b'{"result":null,"id":1}'
    assert result_reply(3, ["btcusdt@ticker"]) == b'{"result":["btcusdt@ticker"],"id":3}'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200),
        st.fixed_dictionaries(
            {"method": st.sampled_from([*METHODS, "X"]) | JSON},
            optional={"params": JSON, "id": JSON},
        ).map(json.dumps),
    )
)
def test_no_message_raises_anything_but_a_control_error(text: str | bytes) -> None:
    try:
        request = parse_request(text)
    except ControlError as error:
        json.loads(error_reply(error))
    else:
        assert request.method in METHODS
