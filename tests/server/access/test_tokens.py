"""Tokens of a Supabase project: which are taken, whose they are, and when they end."""

from __future__ import annotations

import asyncio
import builtins
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from server.access.signers import (
    AGE_S_MAX,
    BODY_MAX,
    FETCH_EVERY_S_MIN,
    SignerError,
    Signers,
    fetch_url,
    read_signers,
)
from server.access.tokens import (
    JOBS_MAX,
    KNOWN_MAX,
    LEEWAY_S,
    TokenError,
    TokensBusyError,
    TokenVerifier,
    looks_like_token,
)
from server.errors import SettingsError
from server.identity import Scope, Tier

# The fixture's clock is set anew by each example that moves it.
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
USER = "5f0e9a2c-1d3b-4c6e-8f7a-0b1c2d3e4f50"
URL = "https://project.example"
SECRET = "super-secret-jwt-token-with-at-least-32-characters-long"


def verified(verifier: TokenVerifier, token: bytes) -> Any:
    return asyncio.run(verifier.verify(token))


def refusal(verifier: TokenVerifier, token: bytes) -> str:
    """Why a token is refused; asserts that it is."""
    with pytest.raises(TokenError) as caught:
        verified(verifier, token)
    assert verifier.known(token) is None
    return caught.value.reason


@pytest.mark.parametrize("signer", ["curve", "rsa", "secret"])
def test_a_token_is_its_users(project: Any, signer: str) -> None:
    """E2: whose a request is comes from its token and nowhere else."""
    verifier = project.verifier(secret=SECRET, tier_of=lambda user: Tier.PRO)
    token = project.token(signer)
    assert looks_like_token(token)
    assert verifier.known(token) is None
    principal = verified(verifier, token)
    assert (principal.owner, principal.tier, principal.scope) == (USER, Tier.PRO, Scope.TRADE)
    assert (principal.key_id, principal.bucket) == (None, f"user:{USER}")
    assert principal.expires_ms == project.clock.now_ms + 3_600_000
    assert verifier.known(token) == principal
    assert verifier.holds(principal)


WRONG_CLAIMS: dict[str, dict[str, Any]] = {
    "another project": {"iss": "https://other.example/auth/v1"},
    "the project without its path": {"iss": URL},
    "no issuer": {"iss": None},
    "an issuer in a list": {"iss": [f"{URL}/auth/v1"]},
    "another audience": {"aud": "anon"},
    "no audience": {"aud": None},
    "the public role": {"role": "anon"},
    "the service role": {"role": "service_role"},
    "no role": {"role": None},
    "a role in a list": {"role": ["authenticated"]},
    "no user": {"sub": None},
    "an empty user": {"sub": ""},
    "a user that is no id": {"sub": "operator"},
    "a user in capitals": {"sub": USER.upper()},
    "a user and a newline": {"sub": USER + "\n"},
    "no expiry": {"exp": None},
    "an expiry as text": {"exp": "1900000000"},
    "no end of time": {"exp": float("inf")},
    "no number": {"exp": float("nan")},
    "a number beyond all": {"exp": 10**300},
    "a truth for an expiry": {"exp": True},
    "a start that is no number": {"nbf": float("nan")},
}


@pytest.mark.parametrize("signer", ["curve", "secret"])
@pytest.mark.parametrize("how", WRONG_CLAIMS)
def test_a_token_that_says_something_else_is_refused(project: Any, how: str, signer: str) -> None:
    verifier = project.verifier(secret=SECRET)
    claims = {n: v for n, v in project.claims().items() if n not in WRONG_CLAIMS[how]}
    claims |= {n: v for n, v in WRONG_CLAIMS[how].items() if v is not None}
    key, algorithm = (project.curve, "ES256") if signer == "curve" else (SECRET, "HS256")
    # By the parts, as the library would not sign some of these.
    signed = jwt.api_jws.encode(
        json.dumps(claims).encode(), key, algorithm, headers={"kid": "curve", "typ": "JWT"}
    )
    assert refusal(verifier, signed.encode()) in ("refused", "role")


def public_bytes(project: Any) -> list[bytes]:
    """Every form in which a public key could be taken for a shared secret."""
    subject = serialization.PublicFormat.SubjectPublicKeyInfo
    forms = [
        key.public_bytes(encoding, subject)
        for key in (project.curve.public_key(), project.rsa.public_key())
        for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER)
    ]
    return [*forms, project.jwks(), *(json.dumps(entry).encode() for entry in project.entries)]


@pytest.mark.parametrize("secret", [None, SECRET])
def test_a_public_key_never_serves_as_a_secret(project: Any, secret: str | None) -> None:
    verifier = project.verifier(secret=secret)
    for kid in ("curve", "rsa", None):
        header = {"alg": "HS256", "typ": "JWT"} | ({"kid": kid} if kid else {})
        for form in public_bytes(project):
            assert refusal(verifier, project.forged(header, form)) in ("algorithm", "refused")


@pytest.mark.parametrize("secret", [None, SECRET])
@pytest.mark.parametrize("name", ["none", "None", "NONE", "", None, 0, ["ES256"], "HS384", "HS512",
                                  "ES384", "PS256", "EdDSA", "es256", "HS256 "])  # fmt: skip
def test_no_other_algorithm_is_taken(project: Any, name: Any, secret: str | None) -> None:
    verifier = project.verifier(secret=secret)
    for kid in ("curve", "rsa", None):
        header = {"alg": name, "typ": "JWT"} | ({"kid": kid} if kid else {})
        for signed_with in (None, b"", SECRET.encode()):
            token = project.forged(header, signed_with)
            assert refusal(verifier, token) in ("algorithm", "malformed")


def test_a_shared_secret_counts_only_where_it_was_set(project: Any) -> None:
    token = project.token("secret")
    assert refusal(project.verifier(), token) == "algorithm"
    assert verified(project.verifier(secret=SECRET), token).owner == USER
    assert refusal(project.verifier(secret=SECRET[:-1] + "x"), token) == "refused"
    # With it, the project's keys count all the same, but a name makes no secret one of theirs.
    named = project.token("secret", headers={"kid": "curve"})
    assert verified(project.verifier(secret=SECRET), named).signed_by == "HS256"
    assert verified(project.verifier(secret=SECRET), project.token("rsa")).signed_by == "rsa"


@pytest.mark.parametrize("kid", [None, "", "rsa", "other", 1, ["curve"], {"kid": "curve"}])
def test_a_token_must_name_the_key_that_signed_it(project: Any, kid: Any) -> None:
    verifier = project.verifier()
    header = {"alg": "ES256", "typ": "JWT"} | ({} if kid is None else {"kid": kid})
    parts = project.forged(header, None)
    signature = project.token().rpartition(b".")[2]
    assert refusal(verifier, parts + signature) in ("unknown_signer", "algorithm", "malformed")


def test_a_token_cannot_bring_its_own_key(project: Any) -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    entry = ECAlgorithm.to_jwk(own.public_key(), as_dict=True)
    for extra in ({"jwk": entry}, {"jku": "https://evil.example/"}, {"x5u": "https://e.example/"}):
        text = jwt.encode(project.claims(), own, "ES256", headers={"kid": "curve"} | extra)
        assert refusal(project.verifier(), text.encode()) == "refused"
    critical = project.token(headers={"crit": ["exp"]})
    assert refusal(project.verifier(), critical) in ("malformed", "refused")


@SHARED
@given(data=st.data())
def test_a_token_altered_anywhere_is_refused(project: Any, data: st.DataObject) -> None:
    verifier = project.verifier(secret=SECRET)
    token = project.token(data.draw(st.sampled_from(["curve", "rsa", "secret"])))
    place = data.draw(st.integers(0, len(token) - 1))
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
    altered = token[:place] + bytes([data.draw(st.sampled_from(letters))]) + token[place + 1 :]
    if same_bytes(altered, token):  # the last letter of base64 has bits that say nothing
        return
    with pytest.raises((TokenError, TokensBusyError)):
        verified(verifier, altered)


def same_bytes(a: bytes, b: bytes) -> bool:
    try:
        return [jwt.utils.base64url_decode(part) for part in a.split(b".")] == [
            jwt.utils.base64url_decode(part) for part in b.split(b".")
        ]
    except ValueError:
        return False


@SHARED
@given(header=st.binary(max_size=60), payload=st.binary(max_size=60), rest=st.binary(max_size=80))
def test_anything_that_looks_like_a_token_is_refused_and_nothing_breaks(
    project: Any, header: bytes, payload: bytes, rest: bytes
) -> None:
    part = jwt.utils.base64url_encode
    token = b".".join([b"eyJ" + part(header), part(payload), part(rest)])
    assert looks_like_token(token)
    with pytest.raises(TokenError):
        verified(project.verifier(secret=SECRET), token)


@pytest.mark.parametrize("payload", [b"[" * 3000, b'{"a":' * 1000, b"null", b"7", b'"x"', b"\xff"])
def test_a_payload_of_another_shape_is_refused(project: Any, payload: bytes) -> None:
    signed = jwt.api_jws.encode(payload, project.curve, "ES256", headers={"kid": "curve"})
    assert refusal(project.verifier(), signed.encode()) in ("refused", "malformed")


def test_a_token_is_bounded_in_length(project: Any) -> None:
    verifier = project.verifier()
    assert verified(verifier, project.token(note="x" * 4000)).owner == USER
    assert refusal(verifier, project.token(note="x" * 8000)) == "malformed"


@SHARED
@given(issued=st.integers(-7200, 7200), life=st.integers(1, 7200), asked=st.integers(-7300, 14_500))
def test_a_token_holds_from_its_issue_to_its_expiry_and_five_seconds_around(
    project: Any, issued: int, life: int, asked: int
) -> None:
    """Clock skew: the project's clock may be ahead of ours or behind."""
    start_ms = 1_800_000_000_000
    project.clock.now_ms = start_ms
    now = start_ms // 1000
    token = project.token(iat=now + issued, exp=now + issued + life)
    verifier = project.verifier()
    project.clock.now_ms = start_ms + asked * 1000
    holds = issued - LEEWAY_S <= asked < issued + life + LEEWAY_S
    if holds:
        principal = verified(verifier, token)
        assert verifier.known(token) == principal
        project.clock.now_ms = (now + issued + life + LEEWAY_S) * 1000
        assert not verifier.holds(principal)
        with pytest.raises(TokenError) as caught:
            verifier.known(token)
        assert caught.value.genuine
    else:
        assert refusal(verifier, token) in ("expired", "not_yet")
    project.clock.now_ms = start_ms


def test_a_token_of_somebody_without_an_account_is_worth_no_more_than_none(project: Any) -> None:
    verifier = project.verifier(tier_of=lambda user: Tier.ELITE)
    token = project.token(is_anonymous=True)
    assert verified(verifier, token).tier is Tier.ANONYMOUS
    assert verifier.known(token).tier is Tier.ANONYMOUS


def test_the_tier_is_asked_for_each_time(project: Any) -> None:
    tiers = {USER: Tier.FREE}
    verifier = project.verifier(tier_of=tiers.__getitem__)
    token = project.token()
    principal = verified(verifier, token)
    tiers[USER] = Tier.ELITE
    assert verifier.known(token).tier is Tier.ELITE
    assert not verifier.holds(principal)
    assert verifier.holds(verifier.known(token))


def test_nobody_is_let_in_before_tiers_are_known(project: Any) -> None:
    tiers: dict[str, Tier] = {}
    verifier = project.verifier(tier_of=tiers.get)
    token = project.token()
    with pytest.raises(TokensBusyError, match="tiers"):
        verified(verifier, token)
    assert verifier.known(token) is None
    nameless = project.token(is_anonymous=True)
    assert verified(verifier, nameless).tier is Tier.ANONYMOUS
    tiers[USER] = Tier.PRO
    principal = verified(verifier, token)
    assert principal.tier is Tier.PRO
    assert verifier.holds(principal)


def test_tokens_of_before_a_sign_out_are_refused(project: Any) -> None:
    moments: dict[str, int] = {}
    verifier = project.verifier(signed_out_ms=lambda user: moments.get(user, -1))
    token = project.token()
    principal = verified(verifier, token)
    moments[USER] = project.clock.now_ms
    with pytest.raises(TokenError, match="revoked"):
        verifier.known(token)
    assert not verifier.holds(principal)
    project.clock.now_ms += 2000
    assert verified(verifier, project.token()).owner == USER


def test_what_is_remembered_is_bounded(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.access.tokens.KNOWN_MAX", 3)
    verifier = project.verifier(secret=SECRET)
    tokens = [project.token("secret", nonce=index) for index in range(4)]
    for token in tokens[:3]:
        verified(verifier, token)
    assert verifier.known(tokens[0]) is not None
    verified(verifier, tokens[3])
    assert [verifier.known(token) is not None for token in tokens] == [True, False, True, True]
    assert KNOWN_MAX >= 1000


def test_tokens_that_wait_to_be_verified_are_bounded(project: Any) -> None:
    verifier = project.verifier(secret=SECRET)

    async def scenario() -> list[Any]:
        tokens = [project.token("secret", nonce=index) for index in range(JOBS_MAX + 5)]
        return await asyncio.gather(*map(verifier.verify, tokens), return_exceptions=True)

    results = asyncio.run(scenario())
    assert sum(isinstance(one, TokensBusyError) for one in results) == 5
    assert sum(getattr(one, "owner", None) == USER for one in results) == JOBS_MAX


# --- the project's keys ------------------------------------------------------------------------


def test_keys_that_sign_no_tokens_are_left_out(project: Any) -> None:
    curve, large = project.entries
    small = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True)
    other_curve = ECAlgorithm.to_jwk(
        ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True
    )
    useless = [
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0", "alg": "HS256"},
        curve | {"kid": "enc", "use": "enc"},
        curve | {"kid": "alg", "alg": "HS256"},
        large | {"kid": "pss", "alg": "PS256"},
        other_curve | {"kid": "p384"},
        small | {"kid": "small"},
        {"kty": "EC", "kid": "empty", "crv": "P-256"},
        {name: value for name, value in curve.items() if name != "kid"},
        {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": curve["x"]},
        7,
    ]
    body = json.dumps({"keys": [*useless, curve, large]}).encode()
    assert set(read_signers(body)) == {"curve", "rsa"}


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"\xff", b"[" * 9999, b'{"keys":7}', b'{"keys":[' + b"7," * 20 + b"7]}"],
)
def test_what_is_no_set_of_keys_is_refused(body: bytes) -> None:
    with pytest.raises(SignerError):
        read_signers(body)


def test_two_keys_with_one_id_are_none(project: Any) -> None:
    one, two = project.entries
    with pytest.raises(SignerError, match="one id"):
        read_signers(json.dumps({"keys": [one, two | {"kid": "curve"}]}).encode())


class Fetches:
    """What a project answers, and when it was asked."""

    def __init__(self, project: Any) -> None:
        self.project = project
        self.moments: list[float] = []
        self.body: bytes | None = project.jwks()

    def __call__(self, url: str) -> bytes:
        assert url == f"{URL}/auth/v1/.well-known/jwks.json"
        self.moments.append(self.project.clock.monotonic())
        if self.body is None:
            raise SignerError("status 500")
        return self.body


class SteppedClock:
    """The manual clock, moved on by whoever has to wait."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.time_ms, self.monotonic = clock.time_ms, clock.monotonic

    async def sleep(self, seconds: float) -> None:
        self.clock.now_ms += int(seconds * 1000)
        await asyncio.sleep(0.001)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        def late() -> None:
            self.clock.now_ms += int(seconds * 1000)
            callback()

        return asyncio.get_running_loop().call_later(0.02, late)


def kept(project: Any, scenario: Callable[[Signers, Fetches], Any]) -> Any:
    """Run ``scenario`` while the keys are kept, in stepped time."""
    fetches = Fetches(project)

    async def main() -> Any:
        signers = Signers(
            f"{URL}/auth/v1/.well-known/jwks.json", SteppedClock(project.clock), fetches
        )
        keeping = asyncio.create_task(signers.keep())
        try:
            return await scenario(signers, fetches)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    return asyncio.run(main())


async def fetched(fetches: Fetches, count: int) -> None:
    async with asyncio.timeout(30):
        while len(fetches.moments) < count:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.005)


def test_unknown_keys_are_fetched_soon_but_never_more_often_than_allowed(project: Any) -> None:
    async def scenario(signers: Signers, fetches: Fetches) -> list[float]:
        await fetched(fetches, 1)
        for count in range(2, 12):
            for number in range(50):
                assert signers.get(f"unknown-{number}") is None
            await fetched(fetches, count)
        return fetches.moments

    moments = kept(project, scenario)
    gaps = [later - earlier for earlier, later in zip(moments, moments[1:], strict=False)]
    assert min(gaps) >= FETCH_EVERY_S_MIN


def test_a_project_that_is_down_costs_nothing_until_its_keys_are_old(project: Any) -> None:
    async def scenario(signers: Signers, fetches: Fetches) -> None:
        await fetched(fetches, 1)
        fetches.body = None
        await fetched(fetches, 3)
        assert (signers.usable, signers.failures >= 1) == (True, True)
        assert signers.get("curve") is not None
        project.clock.now_ms += int(AGE_S_MAX * 1000) + 1
        assert (signers.usable, "curve" in signers) == (False, False)
        fetches.body = project.jwks()
        await fetched(fetches, len(fetches.moments) + 2)
        assert signers.get("curve") is not None

    kept(project, scenario)


def test_tokens_end_with_the_key_that_signed_them(project: Any) -> None:
    verifier = project.verifier()
    token, other = project.token("curve"), project.token("rsa")
    principals = [verified(verifier, token), verified(verifier, other)]
    body = json.dumps({"keys": project.entries[1:]}).encode()
    verifier.signers._fetch = lambda url: body
    asyncio.run(verifier.signers._refresh())
    assert [verifier.holds(principal) for principal in principals] == [False, True]
    with pytest.raises(TokenError, match="unknown_signer"):
        verifier.known(token)


def test_without_the_projects_keys_nobody_is_refused_for_good(project: Any) -> None:
    signers = Signers("https://x.example", project.clock, lambda url: b"")
    verifier = TokenVerifier(URL, project.clock, signers=signers)
    with pytest.raises(TokensBusyError):
        verified(verifier, project.token())


def test_a_fetch_takes_no_redirect_no_error_and_no_large_body(http_server: Any) -> None:
    base, answers = http_server
    answers["/keys"] = (200, {}, b'{"keys":[]}')
    answers["/elsewhere"] = (302, {"Location": f"{base}/keys"}, b"")
    answers["/broken"] = (500, {}, b"")
    answers["/large"] = (200, {}, b" " * (BODY_MAX + 1))
    assert fetch_url(f"{base}/keys") == b'{"keys":[]}'
    for path in ("/elsewhere", "/broken", "/large", "/missing"):
        with pytest.raises(SignerError):
            fetch_url(base + path)
    with pytest.raises(SignerError):
        fetch_url("http://127.0.0.1:1/keys")


# --- the start ---------------------------------------------------------------------------------


def test_a_server_that_cannot_verify_tokens_does_not_start(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == "jwt":
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match=r"pip install 'klinecore\[supabase\]'"):
        TokenVerifier(URL, project.clock)


def test_a_secret_that_can_be_guessed_is_refused(project: Any) -> None:
    with pytest.raises(SettingsError, match="at least 32 bytes") as caught:
        TokenVerifier(URL, project.clock, secret="canary-secret")
    assert "canary" not in str(caught.value)
