"""The alert office: each signal once to each target, whatever stops or is full meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import shelves
from alert_house import ANNAS, fail, house, run
from alert_peers import Answer, Peer, believing
from alert_samples import make_alert, make_signal, make_target

from server.alerts import office as office_module
from server.alerts.addresses import Rules
from server.alerts.client import HttpClient
from server.alerts.messages import Alert
from server.alerts.model import Outcome, Result, Target
from server.alerts.senders import Webhook

# --- stores and processes that fail --------------------------------------------------------------


def test_nothing_waits_while_the_store_is_down_and_all_arrives_afterwards(tmp_path: Path) -> None:
    disk = shelves.BadDisk()

    async def scenario() -> None:
        async with house(tmp_path, connect=disk.connect, rate=100.0) as here:
            await here.office.add(make_target(), 10)
            disk.fail()
            for number in range(50):
                here.office.put([make_signal(number, ANNAS)])
            await asyncio.sleep(0.3)
            assert here.mouth.sent == []
            assert len(here.office._incoming) == 50
            assert b"alerts_waiting 50" in here.metrics.render()
            disk.mend()
            await here.quiet(30)
            assert len(here.mouth.sent) == len(set(here.mouth.sent)) == 50

    run(scenario())


def test_what_finds_no_room_in_memory_either_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(office_module, "INCOMING_MAX", 10)

    async def scenario() -> None:
        async with house(tmp_path) as here:
            await here.office.add(make_target(), 10)
            here.office.put([make_signal(i, ANNAS) for i in range(25)])
            await here.quiet()
            assert len(here.mouth.sent) == 10
            assert here.count("dropped") == 15

    run(scenario())


def test_a_stop_finishes_what_is_under_way_and_the_next_life_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as here:
            here.mouth.delay_s = 0.05
            await here.office.add(make_target(), 10)
            here.office.put([make_signal(i, ANNAS) for i in range(12)])
            for _ in range(4):
                await asyncio.sleep(0.06)
                await here.office.close()
                here.begin()
            await here.quiet()
            assert Counter(here.mouth.sent) == {key: 1 for key in here.mouth.sent}
            assert len(here.mouth.sent) == 12

    run(scenario())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_whatever_fails_each_signal_arrives_once_or_is_accounted_for(
    tmp_path: Path, seed: int
) -> None:
    """Targets that fail at random, a store that comes and goes, lives that end without a word."""
    chance = random.Random(seed)
    disk = shelves.BadDisk()

    def script(target: Target, alerts: Sequence[Alert]) -> Outcome:
        dice = chance.random()
        if dice < 0.5:
            return Outcome(Result.SENT)
        return fail() if dice < 0.95 else Outcome(Result.DEAD, "status 400")

    async def scenario() -> None:
        async with house(tmp_path, connect=disk.connect, rate=2000.0) as here:
            here.mouth.script = script
            targets = [make_target(number=i) for i in range(1, 4)]
            for target in targets:
                await here.office.add(target, 10)
            in_flight_at_kills = 0
            put: list[Any] = []
            for step in range(25):
                fresh = [make_signal(step * 10 + i, ANNAS) for i in range(chance.randrange(10))]
                put += fresh
                here.office.put(fresh)
                await asyncio.sleep(chance.random() * 0.02)
                dice = chance.random()
                if dice < 0.15 and not disk.fault:
                    disk.fail()
                elif disk.fault:
                    disk.mend()
                elif dice < 0.3:
                    while here.office._incoming:
                        await asyncio.sleep(0.005)
                    in_flight_at_kills += sum(d.busy for d in here.office._desks.values()) * 2
                    await here.kill()
                    here.begin()
                    while not here.office._loaded:
                        await asyncio.sleep(0.005)
                    here.office.put(put[-20:])  # the engine tells its last ones again
            disk.mend()
            await here.quiet(30)
            delivered = Counter(here.mouth.sent)
            twice = 0
            for target in targets:
                dead = {letter.signal_id for letter in await here.office.dead(target)}
                for signal in put:
                    key = (target.id, signal.id, 1)
                    assert key in delivered or signal.id in dead
                    twice += (key in delivered) and (signal.id in dead)
            # Only what was under way when a life ended can have been sent without a note of it.
            twice += sum(delivered.values()) - len(delivered)
            assert twice <= in_flight_at_kills

    run(scenario())


# --- really --------------------------------------------------------------------------------------


def test_webhooks_over_tls_with_faults_arrive_once_by_their_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(3)
    accepted: list[str] = []

    def answer(got: Any) -> Answer:
        if chance.random() < 0.3:
            return Answer(503)
        accepted.append(got.headers["webhook-id"])
        return Answer(204, body=b"")

    async def scenario(peer: Peer) -> None:
        client = HttpClient(Rules(loopback=True), context=believing())
        async with house(tmp_path, Webhook(client)) as here:
            target = make_target(address=peer.base + "/hook")
            await here.office.add(target, 10)
            here.office.put([make_signal(i, ANNAS) for i in range(60)])
            await here.quiet()
            assert sorted(accepted) == sorted(f"{make_signal(i, ANNAS).id}.1" for i in range(60))
            assert peer.under_way_max <= office_module.HOST_MAX
            outcome = await here.office.test(target, make_alert())
            assert outcome.result in (Result.SENT, Result.RETRY)
            shown = here.metrics.render().decode() + caplog.text
            assert target.secret not in shown

    with Peer(answer) as peer:
        run(scenario(peer))


def test_the_office_is_closed_more_than_once_without_harm(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as here:
            with contextlib.suppress(TimeoutError):
                await here.office.close()
            await here.office.close()

    run(scenario())


def test_must_never_21_a_signal_that_is_told_again_alerts_somebody_again(tmp_path: Path) -> None:
    """As after each restart: the last closes are evaluated anew, with the ids they had."""

    async def scenario() -> None:
        async with house(tmp_path) as here:
            await here.office.add(make_target(), 10)
            signals = [make_signal(i, ANNAS) for i in range(30)]
            here.office.put(signals)
            await here.quiet()
            for _ in range(3):
                await here.office.close()
                here.begin()
                here.office.put(signals[-10:])
                here.office.put(signals[-10:])
                await here.quiet()
            assert sorted(key[1] for key in here.mouth.sent) == sorted(s.id for s in signals)

    run(scenario())
