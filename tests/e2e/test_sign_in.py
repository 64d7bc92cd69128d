"""Signing in and out in a real browser: by key, by account, and what happens when that ends."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from commands import Demo, until
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, expect
from sign_in_service import EMAIL, OTHER_EMAIL, PASSWORD, SignInService, sign_in_service

from server.access.keys import KeysFile
from server.identity import Scope, Tier

pytestmark = pytest.mark.browser

#: Brackets may stand in a key, but in no name of a subprotocol.
OPERATOR_KEY = "operators-own-(key)"


@pytest.fixture(scope="module")
def service() -> Iterator[SignInService]:
    with sign_in_service() as service:
        yield service


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeysFile:
    file = KeysFile(str(tmp_path_factory.mktemp("keys") / "keys.json"))
    file.add("first", tier=Tier.PRO, scope=Scope.READ, now_ms=0)
    return file


@pytest.fixture(scope="module")
def locked(keys: KeysFile, service: SignInService) -> Iterator[Demo]:
    demo = Demo(
        API_KEY=OPERATOR_KEY,
        KLINE_API_KEYS_FILE=keys.path,
        SUPABASE_URL=service.url,
        SUPABASE_PUBLISHABLE_KEY=service.tokens.publishable_key,
    )
    yield demo
    assert demo.command.end() == 0


def now_ms() -> int:
    return int(time.time() * 1000)


def sign_in(page: Page, key: str, *, remember: bool = False) -> None:
    dialog = page.get_by_role("dialog", name="Sign in")
    expect(dialog).to_be_visible()
    if remember:
        dialog.get_by_label("Remember on this device").check()
    dialog.get_by_label("API key or access token").fill(key)
    dialog.get_by_role("button", name="Use the key").click()


def expect_signed_in(page: Page, name: str) -> None:
    expect(page.locator("account-menu summary")).to_have_text(name)
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_visitor_is_asked_and_nothing_is_read_without_a_key(page: Page, locked: Demo) -> None:
    """Requests without a key would use up the guesses of the visitor's address."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(locked.url)))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.goto(locked.url + "/#/status")
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
    expect(page.get_by_text("This server asks for a key.")).to_be_visible()
    assert {url for url in asked if not url.startswith(("/assets/", "data:"))} == {"/", "/v1/me"}


def test_a_wrong_key_is_refused_and_the_right_one_never_stands_in_an_address(
    page: Page, locked: Demo
) -> None:
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.goto(locked.url + "/")
    sign_in(page, "wrong")
    expect(page.get_by_text("This key is not known to the server.")).to_be_visible()
    sign_in(page, OPERATOR_KEY)
    expect_signed_in(page, "operator")
    expect(page.locator("vital-signs .live")).to_have_text("Live")
    assert not [url for url in [page.url, *sockets] if OPERATOR_KEY in url]
    assert not [request.url for request in asked if OPERATOR_KEY in request.url]
    assert any(request.headers.get("x-api-key") == OPERATOR_KEY for request in asked)


@pytest.mark.parametrize("remember", [False, True])
def test_a_key_is_kept_for_the_tab_or_on_the_device(
    context: BrowserContext, page: Page, locked: Demo, remember: bool
) -> None:
    page.goto(locked.url + "/")
    sign_in(page, OPERATOR_KEY, remember=remember)
    expect_signed_in(page, "operator")
    page.reload()
    expect_signed_in(page, "operator")
    other = context.new_page()
    other.goto(locked.url + "/")
    if remember:
        expect_signed_in(other, "operator")
    else:
        expect(other.get_by_role("dialog", name="Sign in")).to_be_visible()


def test_signing_out_forgets_the_key_and_what_it_read(page: Page, locked: Demo) -> None:
    page.goto(locked.url + "/#/status")
    sign_in(page, OPERATOR_KEY, remember=True)
    expect(page.get_by_role("heading", name="Status")).to_be_visible()
    page.locator("account-menu summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("This server asks for a key.")).to_be_visible()
    expect(page.get_by_role("heading", name="Status")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()


def test_a_revoked_key_ends_the_page_at_once(page: Page, locked: Demo, keys: KeysFile) -> None:
    text, key = keys.add("anna", tier=Tier.PRO, scope=Scope.TRADE, now_ms=now_ms())
    page.goto(locked.url + "/#/status")

    def accepted() -> bool:  # the server looks at the file each second
        sign_in(page, text)
        expect(
            page.locator("account-menu summary", has_text="anna")
            .or_(page.get_by_text("This key is not known"))
            .first
        ).to_be_visible()
        return page.get_by_role("dialog").count() == 0

    until(accepted)
    expect(page.locator("vital-signs .live")).to_have_text("Live")
    keys.revoke(key.id, now_ms=now_ms())
    expect(page.get_by_text("This server asks for a key.")).to_be_visible()
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()


def test_who_is_signed_in_sees_what_is_left(page: Page, locked: Demo) -> None:
    page.goto(locked.url + "/")
    sign_in(page, OPERATOR_KEY)
    page.locator("account-menu summary").click()
    sheet = page.locator("account-menu .sheet")
    expect(sheet).to_contain_text("elite")
    expect(sheet).to_contain_text("not counted")
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()


def with_account(
    page: Page, locked: Demo, password: str, *, email: str = EMAIL, remember: bool = False
) -> None:
    page.goto(locked.url + "/")
    dialog = page.get_by_role("dialog", name="Sign in")
    expect(dialog).to_be_visible()
    if remember:
        dialog.get_by_label("Remember on this device").check()
    dialog.get_by_label("Mail address").fill(email)
    dialog.get_by_label("Password", exact=True).fill(password)
    dialog.get_by_role("button", name="Sign in").click()


def test_a_user_of_the_project_signs_in_and_out(
    page: Page, locked: Demo, service: SignInService
) -> None:
    with_account(page, locked, "wrong")
    expect(page.get_by_text("Mail address or password is wrong.")).to_be_visible()
    with_account(page, locked, PASSWORD)
    expect_signed_in(page, EMAIL)
    expect(page.locator("vital-signs .live")).to_have_text("Live")
    page.reload()
    expect_signed_in(page, EMAIL)
    before = service.signed_out
    page.locator("account-menu summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("This server asks for a key.")).to_be_visible()
    until(lambda: service.signed_out > before, "the project is told")


@pytest.fixture
def brief(service: SignInService) -> Iterator[SignInService]:
    """Its sessions are renewed two seconds after they were given."""
    service.expires_in = 62
    yield service
    service.expires_in = 3600


def test_a_token_is_renewed_before_it_ends(page: Page, locked: Demo, brief: SignInService) -> None:
    brief.granted.clear()
    with_account(page, locked, PASSWORD)
    expect_signed_in(page, EMAIL)
    until(lambda: "refresh_token" in brief.granted, "no renewal")
    expect_signed_in(page, EMAIL)


def test_who_signs_out_while_a_token_is_renewed_stays_signed_out(
    page: Page, locked: Demo, brief: SignInService
) -> None:
    renewal = "**/auth/v1/token?grant_type=refresh_token"
    held: list[Route] = []
    page.route(renewal, lambda route: held.append(route))
    with page.expect_request(renewal):
        with_account(page, locked, PASSWORD, remember=True)
    expect_signed_in(page, EMAIL)
    page.locator("account-menu summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("This server asks for a key.")).to_be_visible()
    held[0].fallback()
    # The page holds this lock until it has dealt with the answer.
    page.evaluate("navigator.locks.request('klinecore.session', () => true)")
    assert page.evaluate("localStorage.getItem('klinecore.session')") is None
    page.reload()
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()


def test_a_session_that_the_project_ended_ends_on_the_page(
    browser: Browser, page: Page, locked: Demo, brief: SignInService
) -> None:
    with_account(page, locked, PASSWORD)
    expect_signed_in(page, EMAIL)
    brief.refreshes.clear()
    expect(page.get_by_text("This server asks for a key.")).to_be_visible()


def remembered(page: Page) -> str | None:
    """Mail address of the session that is kept on the device."""
    email: str | None = page.evaluate(
        "JSON.parse(localStorage.getItem('klinecore.session') ?? 'null')?.email ?? null"
    )
    return email


def test_each_tab_renews_its_own_session(
    context: BrowserContext, page: Page, locked: Demo, brief: SignInService
) -> None:
    with_account(page, locked, PASSWORD)
    expect_signed_in(page, EMAIL)
    other = context.new_page()
    with_account(other, locked, PASSWORD, email=OTHER_EMAIL, remember=True)
    expect_signed_in(other, OTHER_EMAIL)
    brief.granted.clear()
    until(lambda: page.wait_for_timeout(50) or len(brief.granted) > 3, "no renewals")
    assert remembered(page) == OTHER_EMAIL
    for tab, email in ((page, EMAIL), (other, OTHER_EMAIL)):
        tab.reload()
        expect_signed_in(tab, email)


def refuse_status(page: Page) -> None:
    """What a page is told whose key or token has just ended."""
    problem = {"status": 401, "code": "unauthorized", "title": "Unauthorized"}
    page.route("**/v1/status?*", lambda route: route.fulfill(status=401, json=problem))
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Status").click()


def test_a_user_whose_session_has_ended_does_not_become_who_is_remembered_now(
    context: BrowserContext, page: Page, locked: Demo, service: SignInService
) -> None:
    # Tabs that sleep hear of nothing.
    page.add_init_script("addEventListener('storage', (one) => one.stopImmediatePropagation())")
    with_account(page, locked, PASSWORD, remember=True)
    expect_signed_in(page, EMAIL)
    other = context.new_page()
    other.goto(locked.url + "/")
    expect_signed_in(other, EMAIL)
    other.locator("account-menu summary").click()
    other.get_by_role("button", name="Sign out").click()
    with_account(other, locked, PASSWORD, email=OTHER_EMAIL, remember=True)
    expect_signed_in(other, OTHER_EMAIL)
    service.end(EMAIL)
    refuse_status(page)
    expect(page.get_by_text("This server asks for a key.")).to_be_visible()
    assert remembered(other) == OTHER_EMAIL


def test_a_session_that_ends_leaves_the_one_that_is_remembered(
    context: BrowserContext, page: Page, locked: Demo, service: SignInService
) -> None:
    with_account(page, locked, PASSWORD)
    expect_signed_in(page, EMAIL)
    other = context.new_page()
    with_account(other, locked, PASSWORD, email=OTHER_EMAIL, remember=True)
    expect_signed_in(other, OTHER_EMAIL)
    service.end(EMAIL)
    refuse_status(page)
    expect(page.get_by_text("This server asks for a key.")).to_be_visible()
    assert remembered(other) == OTHER_EMAIL


@pytest.mark.parametrize("by", ["key", "account"])
def test_who_cancels_is_not_signed_in_by_an_answer_that_comes_late(
    page: Page, locked: Demo, by: str
) -> None:
    page.goto(locked.url + "/")
    dialog = page.get_by_role("dialog", name="Sign in")
    expect(dialog).to_be_visible()
    held: list[Route] = []
    page.route("**/v1/me", lambda route: held.append(route))
    if by == "key":
        sign_in(page, OPERATOR_KEY)
    else:
        dialog.get_by_label("Mail address").fill(EMAIL)
        dialog.get_by_label("Password", exact=True).fill(PASSWORD)
        dialog.get_by_role("button", name="Sign in").click()
    until(lambda: page.wait_for_timeout(50) or held, "nobody is asked")
    dialog.get_by_role("button", name="Cancel").click()
    for route in held:
        route.continue_()
    page.unroute("**/v1/me")
    page.get_by_role("button", name="Sign in").first.click()
    for button in dialog.locator("button[type=submit]").all():
        expect(button).to_be_enabled()
    expect(dialog).to_be_visible()
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0


@pytest.mark.parametrize("by", ["key", "account"])
def test_who_signs_out_is_signed_out_of_every_tab_that_was_remembered(
    context: BrowserContext, page: Page, locked: Demo, by: str
) -> None:
    if by == "key":
        page.goto(locked.url + "/")
        sign_in(page, OPERATOR_KEY, remember=True)
    else:
        with_account(page, locked, PASSWORD, remember=True)
    name = "operator" if by == "key" else EMAIL
    expect_signed_in(page, name)
    other = context.new_page()
    other.goto(locked.url + "/")
    expect_signed_in(other, name)
    other.locator("account-menu summary").click()
    other.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("This server asks for a key.")).to_be_visible()
    # Whoever signs in there next is nobody here.
    with_account(other, locked, PASSWORD, email=OTHER_EMAIL, remember=True)
    expect_signed_in(other, OTHER_EMAIL)
    expect(page.get_by_text("This server asks for a key.")).to_be_visible()
    assert remembered(other) == OTHER_EMAIL


def test_a_key_that_is_refused_does_not_become_another_tabs_session(
    context: BrowserContext, page: Page, locked: Demo
) -> None:
    page.goto(locked.url + "/")
    sign_in(page, OPERATOR_KEY)
    expect_signed_in(page, "operator")
    other = context.new_page()
    with_account(other, locked, PASSWORD, remember=True)
    expect_signed_in(other, EMAIL)
    refuse_status(page)
    expect(page.get_by_text("This server asks for a key.")).to_be_visible()
    assert remembered(other) == EMAIL


def test_a_sign_in_service_that_is_away_ends_no_session(
    page: Page, locked: Demo, service: SignInService
) -> None:
    with_account(page, locked, PASSWORD, remember=True)
    expect_signed_in(page, EMAIL)
    page.route("**/auth/v1/token*", lambda route: route.abort())
    refuse_status(page)
    expect(page.get_by_text("The sign-in service cannot be reached.")).to_be_visible()
    assert remembered(page) == EMAIL
    page.unroute_all()
    page.reload()
    expect_signed_in(page, EMAIL)
