"""Image, compose file and Fly's: unprivileged, both ports, time to end, asked where it answers."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from dockerfile import Stage

from server.serving import SHUTDOWN_S

#: Seconds beyond the server's own limit that whoever ends it must grant.
SLACK_S = 5.0


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60}[unit]


def test_the_image_runs_as_nobody_in_particular_and_is_told_of_both_ports(
    image: list[Stage],
) -> None:
    shipped = image[-1]
    user, _, group = shipped.one("USER").partition(":")
    assert int(user) >= 10_000
    assert int(group) >= 10_000
    told = shipped.environment
    assert shipped.one("EXPOSE").split() == [told["PORT"], told["KLINE_STREAM_PORT"]]
    assert shipped.one("STOPSIGNAL") == "SIGTERM"
    assert shipped.one("VOLUME") == told["KLINE_DATA_DIR"]
    assert f"--chown={user}:{group} {told['KLINE_DATA_DIR']}" in " ".join(shipped.all("COPY"))
    assert shipped.all("RUN") == []  # nothing is installed outside of the first stage
    assert shipped.command == ["klineserver", "serve"]


def test_the_image_is_made_of_what_is_locked(image: list[Stage]) -> None:
    commands = " && ".join(image[0].all("RUN")).split("&&")
    installs = [c for c in commands if " install " in c and "pip" in c]
    assert len(installs) == 3
    for command in installs:
        assert "--require-hashes" in command or "--no-index" in command, command
    assert "--no-build-isolation" in next(c for c in commands if "pip wheel" in c)


def test_the_image_gets_every_file_it_copies_and_no_others(root: Path, image: list[Stage]) -> None:
    copied = set()
    for text in image[0].all("COPY"):
        copied |= set(shlex.split(text)[:-1])
    rules = (root / ".dockerignore").read_text(encoding="utf-8").split("\n")
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert all((root / name).exists() for name in copied)
    assert {"**/*.so", "**/*.c", "**/__pycache__", "**/.*"} <= set(rules)


def test_a_service_is_confined_to_what_it_needs(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert "user" not in service  # the image's own
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"] == service["memswap_limit"] == "256m"
    assert service["pids_limit"] <= 256
    (place,) = service["tmpfs"]
    assert place.startswith("/tmp:")
    assert {"noexec", "nosuid", "nodev"} <= set(place.partition(":")[2].split(","))
    assert seconds(service["stop_grace_period"]) >= SHUTDOWN_S + SLACK_S
    assert service["env_file"] == ".env"


def test_a_service_has_a_place_for_its_files_and_both_ports_on_this_machine_only(
    image: list[Stage], service: dict[str, Any]
) -> None:
    told = image[-1].environment
    assert service["volumes"] == [f"data:{told['KLINE_DATA_DIR']}"]
    ports = (told["PORT"], told["KLINE_STREAM_PORT"])
    assert service["ports"] == [f"127.0.0.1:{port}:{port}" for port in ports]


def test_a_machine_of_fly_stays_up_and_has_time_to_end(
    image: list[Stage], fly: dict[str, Any]
) -> None:
    assert fly["kill_signal"] == image[-1].one("STOPSIGNAL")
    assert seconds(fly["kill_timeout"]) >= SHUTDOWN_S + SLACK_S
    assert fly["vm"] == [{"size": "shared-cpu-1x", "memory": "256mb"}]
    told = image[-1].environment
    ports = [int(told["PORT"]), int(told["KLINE_STREAM_PORT"])]
    assert [service["internal_port"] for service in fly["services"]] == ports
    for service in fly["services"]:
        assert service["auto_stop_machines"] == "off"  # what it knows is in its memory
        assert service["min_machines_running"] == 1
        assert service["concurrency"]["type"] == "connections"
        tls = [port for port in service["ports"] if "tls" in port["handlers"]]
        plain = [port for port in service["ports"] if "tls" not in port["handlers"]]
        assert tls
        assert all(port["force_https"] for port in plain)
    assert fly["mounts"][0]["destination"] == told["KLINE_DATA_DIR"]


def test_what_restarts_or_routes_asks_for_life_and_what_deploys_for_fresh_data(
    fly: dict[str, Any],
) -> None:
    (check,) = fly["services"][0]["http_checks"]
    assert check["path"] == "/health"
    assert fly["checks"]["ready"]["path"] == "/ready"
    assert fly["checks"]["ready"]["port"] == fly["services"][0]["internal_port"]


def test_a_unit_of_systemd_asks_one_process_to_end_and_grants_it_the_time(root: Path) -> None:
    text = (root / "deploy" / "klineserver.service").read_text(encoding="utf-8")
    unit = dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z]\w+=", line))
    assert unit["KillMode"] == "mixed"
    assert float(unit["TimeoutStopSec"]) >= SHUTDOWN_S + SLACK_S
    assert unit["User"] != "root"
    assert unit["MemoryMax"] == "256M"
    assert unit["StateDirectoryMode"] == "0700"
    told = dict(pair.split("=", 1) for pair in unit["Environment"].split())
    assert told["KLINE_DATA_DIR"] == f"/var/lib/{unit['StateDirectory']}"
    assert told["MALLOC_ARENA_MAX"] == "2"
