"""Settings: where they come from, which one wins, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import SettingsError
from server.settings import LOOPBACK_HOSTS, Settings


def test_defaults_serve_spot_on_loopback() -> None:
    settings = Settings.load({})
    assert settings.host in LOOPBACK_HOSTS
    assert (settings.market, settings.symbols, settings.capacity) == ("spot", "top:50:USDT", 500)
    assert settings.intervals == ("1m", "5m", "15m", "1h")


def test_bare_names_of_the_original_are_honoured() -> None:
    settings = Settings.load({"PORT": "9000", "SYMBOLS": "btcusdt, ETHUSDT", "API_KEY": "k"})
    assert (settings.port, settings.symbols, settings.api_key) == (9000, "btcusdt, ETHUSDT", "k")


def test_foreign_variables_are_ignored() -> None:
    assert Settings.load({"HOME": "/root", "CAPACITY": "7"}).capacity == 500


def test_lists_are_comma_separated() -> None:
    settings = Settings.load({"KLINE_INTERVALS": "1m, 4h ,1M", "KLINE_CORS_ORIGINS": "http://a,"})
    assert settings.intervals == ("1m", "4h", "1M")
    assert settings.cors_origins == ("http://a",)


def test_unknown_variable_is_an_error_that_names_close_matches() -> None:
    with pytest.raises(SettingsError, match=r"KLINE_CAPACTY; did you mean KLINE_CAPACITY\?"):
        Settings.load({"KLINE_CAPACTY": "10"})


def test_flags_beat_environment_beats_file(tmp_path: Path) -> None:
    path = tmp_path / "klineserver.toml"
    path.write_text('capacity = 10\nport = 1\nmarket = "um"\n')
    settings = Settings.load({"KLINE_CAPACITY": "20", "PORT": "2"}, path, {"port": 3, "host": None})
    assert (settings.market, settings.capacity, settings.port) == ("um", 20, 3)
    assert settings.host == "127.0.0.1"


def test_settings_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("capacity = = 1")
    with pytest.raises(SettingsError, match=r"broken\.toml is no TOML"):
        Settings.load({}, path)
    with pytest.raises(SettingsError, match="cannot read settings file"):
        Settings.load({}, tmp_path / "absent.toml")


def test_unknown_name_in_the_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "klineserver.toml"
    path.write_text("capacty = 1")
    with pytest.raises(SettingsError, match="unknown setting 'capacty'"):
        Settings.load({}, path)


NINE_URLS = ",".join(f"ws://x{index}" for index in range(9))


def test_hosts_that_stand_in_for_each_other_are_a_list_the_preferred_one_first() -> None:
    settings = Settings.load(
        {"KLINE_SPOT_REST": "http://a , https://b:1/x/", "KLINE_UM_WS": "ws://c"}
    )
    assert settings.bases("spot_rest") == ("http://a", "https://b:1/x/")
    assert settings.bases("um_ws") == ("ws://c",)
    assert Settings.load(settings.environment()) == settings
    defaults = Settings()
    counts = {name: len(defaults.bases(name)) for name in ("spot_rest", "spot_ws", "um_rest")}
    assert counts == {"spot_rest": 4, "spot_ws": 3, "um_rest": 1}


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"KLINE_CAPACITY": "0"}, "capacity must be 1..100000, not 0"),
        ({"KLINE_CAPACITY": "many"}, "capacity: Expected `int`"),
        ({"PORT": "65536"}, "port must be 0..65535, not 65536"),
        ({"KLINE_STALE_AFTER_S": "nan"}, "stale_after_s must be 0.1..86400, not nan"),
        ({"KLINE_MARKET": "coin"}, "market must be one of spot, um, both, not 'coin'"),
        ({"KLINE_INTERVALS": "1m,7m"}, "intervals must be one of 1s, 1m"),
        ({"KLINE_INTERVALS": " , "}, "at least one interval"),
        ({"KLINE_INTERVALS": "1s", "KLINE_MARKET": "um"}, "1s exists on the spot market only"),
        ({"KLINE_SPOT_REST": "api.binance.com"}, "spot_rest must be a URL that begins with http"),
        ({"KLINE_UM_WS": "https://x"}, "um_ws must be a URL that begins with ws"),
        ({"KLINE_UM_WS": "ws://x,"}, "um_ws must be a URL that begins with ws://, not ''"),
        ({"KLINE_UM_REST": "http://x, http://X/"}, "um_rest must not name a URL twice"),
        ({"KLINE_SPOT_WS": NINE_URLS}, "spot_ws must be at most 8 URLs, not 9"),
        ({"SYMBOLS": ""}, "at least one symbol"),
        ({"SYMBOLS": "top:many:USDT"}, "symbols must look like top:50:USDT"),
        ({"SYMBOLS": "all:"}, "symbols must look like all:USDT"),
        ({"KLINE_LOG_LEVEL": "loud"}, "log_level must be one of"),
        ({"KLINE_TRUSTED_PROXIES": "nginx"}, "trusted_proxies: 'nginx' does not appear to be"),
        ({"KLINE_TRUSTED_PROXIES": "10.0.0.1/8"}, "trusted_proxies: 10.0.0.1/8 has host bits set"),
        ({"KLINE_TRUSTED_PROXIES": "::1,::/0"}, "trusted_proxies must not be everybody, ::/0"),
    ],
)
def test_wrong_value_is_refused_by_name_and_bounds(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ)
    assert message in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::"])
def test_host_others_can_reach_needs_a_key(host: str) -> None:
    with pytest.raises(SettingsError, match="set API_KEY or KLINE_API_KEYS_FILE, or bind to"):
        Settings.load({"KLINE_HOST": host})
    with pytest.raises(SettingsError, match="set API_KEY or KLINE_API_KEYS_FILE, or bind to"):
        Settings.load({"KLINE_HOST": host, "API_KEY": ""})
    assert Settings.load({"KLINE_HOST": host, "API_KEY": "k"}).host == host


@given(st.text(min_size=1))
def test_key_never_shows_itself(key: str) -> None:
    settings = Settings(api_key=key)
    assert repr(settings) == repr(Settings(api_key="another"))
    assert settings.api_key == key


def test_empty_text_of_an_optional_setting_means_not_set() -> None:
    settings = Settings.load({"API_KEY": "", "KLINE_ARENA": ""})
    assert settings.api_key is None
    assert settings.arena is None


def test_settings_survive_the_way_to_a_child_process() -> None:
    settings = Settings(symbols="A,B", intervals=("1m", "1h"), api_key="k", stale_after_s=0.5)
    assert Settings.load(settings.environment()) == settings


def test_both_markets_are_two() -> None:
    assert Settings(market="both").markets == ("spot", "um")
    assert Settings(market="um").markets == ("um",)


def test_supabase_is_named_by_address_and_key_or_not_at_all() -> None:
    settings = Settings.load(
        {"SUPABASE_URL": "https://x.supabase.co", "SUPABASE_SECRET_KEY": "sb_secret_canary"}
    )
    assert settings.supabase_secret_key == "sb_secret_canary"
    assert "canary" not in repr(settings)
    assert Settings.load(settings.environment()) == settings
    with pytest.raises(SettingsError, match="supabase_url"):
        Settings.load({"SUPABASE_SECRET_KEY": "sb_secret_canary"})


def test_the_old_name_of_the_secret_key_is_heard_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    old = {"SUPABASE_URL": "https://x.supabase.co", "SUPABASE_SERVICE_ROLE_KEY": "canary"}
    settings = Settings.load(old)
    assert settings.supabase_secret_key == "canary"
    assert "SUPABASE_SECRET_KEY" in caplog.text
    assert "canary" not in caplog.text
    caplog.clear()
    both = Settings.load(old | settings.environment())  # as a worker is told
    assert both == settings
    assert Settings.load(old | {"SUPABASE_SECRET_KEY": "new"}).supabase_secret_key == "new"
    assert not caplog.records
