"""The alert office: who is told what, and what becomes of targets that fail."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from alert_house import ANNAS, BERTS, BUILTIN, OTHER, TRADERS, Mouth, fail, house, run
from alert_samples import NOW_MS, make_signal, make_target, make_trader

from server.alerts import office as office_module
from server.alerts.addresses import RefusedError
from server.alerts.messages import Alert
from server.alerts.model import Outcome, Result, Target
from server.errors import QuotaError

# --- who is told what ----------------------------------------------------------------------------


def test_an_owner_s_targets_are_told_of_its_traders_and_of_those_it_names(tmp_path: Path) -> None:
    everything = make_target(number=1)
    one_only = make_target(number=2, traders=(OTHER.id,))
    with_builtin = make_target(number=3, traders=(OTHER.id, BUILTIN.id))
    berts = make_target(number=4, owner="bert")

    async def scenario() -> None:
        async with house(tmp_path) as here:
            for target in (everything, one_only, with_builtin, berts):
                await here.office.add(target, 10)
            signals = {one.id: make_signal(0, one) for one in TRADERS.values()}
            here.office.put(list(signals.values()))
            here.office.put([make_signal(1, ANNAS, historical=True)])
            here.office.put([make_signal(1, make_trader(99))])  # deleted since
            await here.quiet()
            told = {
                target.id: {signal for name, signal, _ in here.mouth.sent if name == target.id}
                for target in (everything, one_only, with_builtin, berts)
            }
            assert told == {
                everything.id: {signals[ANNAS.id].id, signals[OTHER.id].id},
                one_only.id: {signals[OTHER.id].id},
                with_builtin.id: {signals[OTHER.id].id, signals[BUILTIN.id].id},
                berts.id: {signals[BERTS.id].id},
            }
            assert len(here.mouth.sent) == 6

    run(scenario())


def test_a_signal_that_comes_again_is_not_sent_again_and_its_revision_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as here:
            await here.office.add(make_target(), 10)
            for _ in range(3):
                here.office.put([make_signal(0, ANNAS)])
                await here.quiet()
            here.office.put([make_signal(0, ANNAS, revision=2), make_signal(0, ANNAS)])
            await here.quiet()
            await here.office.close()
            here.begin()
            here.office.put([make_signal(0, ANNAS), make_signal(0, ANNAS, revision=2)])
            await here.quiet()
            assert [revision for _, _, revision in here.mouth.sent] == [1, 2]

    run(scenario())


def test_who_has_too_many_targets_gets_no_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as here:
            await here.office.add(make_target(number=1), 2)
            await here.office.add(make_target(number=2), 2)
            with pytest.raises(QuotaError):
                await here.office.add(make_target(number=3), 2)
            await here.office.add(make_target(number=4, owner="bert"), 2)
            with pytest.raises(RefusedError):
                await here.office.add(make_target(number=5, address="https://10.0.0.1/"), 9)
            assert [target.id[-1] for target in here.office.of("anna")] == ["1", "2"]
            assert here.office.get("bert", make_target(number=1).id) is None

    run(scenario())


def test_a_target_that_is_removed_is_told_nothing_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as here:
            target = make_target()
            here.mouth.script = lambda *_: fail()
            await here.office.add(target, 10)
            here.office.put([make_signal(i, ANNAS) for i in range(20)])
            while not here.mouth.attempts:
                await asyncio.sleep(0.01)
            await here.office.remove(target.id)
            here.mouth.script = lambda *_: Outcome(Result.SENT)
            here.office.put([make_signal(99, ANNAS)])
            await here.quiet()
            assert here.mouth.sent == []
            assert here.office.of("anna") == []
            assert await here.table.load() == []

    run(scenario())


def test_what_changes_while_targets_are_read_stays_changed(tmp_path: Path) -> None:
    """At a start all of the store's targets are read, beside the first requests."""
    changed, gone = make_target(number=1), make_target(number=2)

    async def scenario() -> None:
        async with house(tmp_path) as here:
            await here.office.close()
            added, was_read, over = (asyncio.Event() for _ in range(3))
            load = here.table.load

            async def slow() -> list[Target]:
                await soon(added)
                targets = await load()
                was_read.set()
                await soon(over)
                return targets

            here.table.load = slow
            here.begin()
            await here.office.add(changed, 10)
            await here.office.add(gone, 10)
            added.set()
            await was_read.wait()
            await here.office.change(
                changed.id, lambda before: msgspec.structs.replace(before, name="new")
            )
            await asyncio.gather(*(here.office.remove(gone.id) for _ in range(2)))
            over.set()
            await here.quiet()
            assert [one.name for one in here.office.of("anna")] == ["new"]
            assert await load() == here.office.of("anna")

    async def soon(event: asyncio.Event) -> None:
        """Or never, where requests wait till all is read."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), 0.2)

    run(scenario())


# --- targets that fail ---------------------------------------------------------------------------


def test_a_target_that_is_down_for_an_hour_costs_bounded_rows_and_few_requests(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with house(tmp_path, rate=4000.0, waiting_max=200) as here:
            target = make_target()
            up_ms = NOW_MS + 3_600_000
            here.mouth.script = lambda *_: (
                Outcome(Result.SENT) if here.clock.time_ms() > up_ms else fail()
            )
            await here.office.add(target, 10)
            for start in range(0, 1000, 50):
                here.office.put([make_signal(i, ANNAS) for i in range(start, start + 50)])
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.1)
            assert sum((await here.table.waiting()).values()) <= 200
            while here.clock.time_ms() < up_ms:
                await asyncio.sleep(0.01)
            # Twice at once, and again after 5, 10, 20 .. s.
            assert here.mouth.attempts <= 2 * 14
            assert (await here.status(target)).failures > 5
            await here.quiet()
            assert len(here.mouth.sent) == len(set(here.mouth.sent)) == 200
            status = await here.status(target)
            assert (status.waiting, status.dropped, status.failures) == (0, 800, 0)
            assert here.count("sent") == 200
            assert here.count("dropped") == 800

    run(scenario())


def test_after_a_day_a_signal_is_given_up_with_the_last_reason(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, rate=100_000.0) as here:
            target = make_target()
            here.mouth.script = lambda *_: fail("status 502")
            await here.office.add(target, 10)
            here.office.put([make_signal(i, ANNAS) for i in range(3)])
            await here.quiet()
            letters = await here.office.dead(target)
            assert [letter.reason for letter in letters] == [
                "not delivered in time: status 502"
            ] * 3
            assert all(
                86_400_000 <= letter.ended_ms - letter.at_ms < 2 * 86_400_000 for letter in letters
            )
            assert (await here.status(target)).dead == 3
            assert here.count("expired") == 3

    run(scenario())


def test_one_signal_that_is_always_refused_holds_up_no_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as here:
            poison = make_signal(0, ANNAS).id
            here.mouth.script = lambda target, alerts: (
                fail("status 500") if alerts[0].signal.id == poison else Outcome(Result.SENT)
            )
            await here.office.add(make_target(), 10)
            here.office.put([make_signal(i, ANNAS) for i in range(40)])
            async with asyncio.timeout(30):
                while len(here.mouth.sent) < 39:
                    await asyncio.sleep(0.01)
            assert here.clock.time_ms() - NOW_MS < 12 * 3_600_000

    run(scenario())


def test_what_is_refused_for_good_is_kept_as_a_dead_letter(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as here:
            target = make_target()
            here.mouth.script = lambda *_: Outcome(Result.DEAD, "status 400")
            await here.office.add(target, 10)
            here.office.put([make_signal(i, ANNAS) for i in range(3)])
            await here.quiet()
            letters = await here.office.dead(target)
            assert [(letter.reason, letter.attempts) for letter in letters] == [
                ("status 400", 1)
            ] * 3
            status = await here.status(target)
            assert (status.dead, status.waiting, status.last_error) == (3, 0, "status 400")
            assert here.count("dead") == 3

    run(scenario())


def test_a_target_that_is_gone_is_disabled(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as here:
            here.mouth.script = lambda *_: Outcome(Result.DEAD, "status 410", disable=True)
            await here.office.add(make_target(), 10)
            here.office.put([make_signal(i, ANNAS) for i in range(30)])
            await here.quiet()
            attempts = here.mouth.attempts
            assert attempts <= 4
            (target,) = here.office.of("anna")
            assert not target.enabled
            assert target.disabled_reason
            await here.office.close()
            here.begin()
            await here.quiet()
            here.office.put([make_signal(50, ANNAS)])
            await here.quiet()
            assert here.mouth.attempts == attempts

    run(scenario())


def test_a_wait_that_the_target_asks_for_is_kept_to(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, Mouth(batch_max=20), rate=1000.0) as here:
            moments: list[float] = []

            def script(target: Target, alerts: Sequence[Alert]) -> Outcome:
                moments.append(here.clock.monotonic())
                return fail("status 429", 600.0) if len(moments) == 1 else Outcome(Result.SENT)

            here.mouth.script = script
            await here.office.add(make_target(), 10)
            here.office.put([make_signal(i, ANNAS) for i in range(30)])
            await here.quiet()
            assert moments[1] - moments[0] >= 600.0
            assert len(here.mouth.sent) == 30
            assert len(moments) == 3  # 20, again 20, then 10 in one message

    run(scenario())


def test_only_so_many_requests_are_under_way_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as here:
            here.mouth.delay_s = 0.01
            for number in range(6):
                await here.office.add(make_target(number=number), 10)
            here.office.put([make_signal(i, ANNAS) for i in range(10)])
            await here.quiet()
            assert here.mouth.under_way_max == office_module.HOST_MAX
            assert len(here.mouth.sent) == 60
            here.mouth.under_way_max = 0
            for number in range(10, 18):
                address = f"https://{number}.example.com/"
                await here.office.add(make_target(number=number, address=address), 20)
            here.office.put([make_signal(i, ANNAS) for i in range(20, 30)])
            await here.quiet()
            assert here.mouth.under_way_max == office_module.OWNER_MAX
            assert not here.office._slots

    run(scenario())


def test_what_waited_longer_than_a_day_while_its_target_was_off_is_not_sent(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with house(tmp_path, rate=100_000.0) as here:
            target = make_target()
            here.mouth.script = lambda *_: fail("status 502")
            await here.office.add(target, 10)
            here.office.put([make_signal(i, ANNAS) for i in range(3)])
            while not here.mouth.attempts:
                await asyncio.sleep(0.001)
            await here.office.change(
                target.id, lambda one: msgspec.structs.replace(one, enabled=False)
            )
            waits_to_ms = here.clock.time_ms() + 2 * 86_400_000
            while here.clock.time_ms() < waits_to_ms:
                await asyncio.sleep(0.01)
            here.mouth.script = lambda *_: Outcome(Result.SENT)
            await here.office.change(target.id, lambda _: target)
            await here.quiet()
            assert here.mouth.sent == []
            assert here.count("expired") == (await here.status(target)).dead == 3

    run(scenario())


def test_a_signal_on_which_the_server_fails_holds_up_no_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as here:
            poison = make_signal(0, ANNAS).id

            def script(target: Target, alerts: Sequence[Alert]) -> Outcome:
                if alerts[0].signal.id == poison:
                    raise LookupError("a fault of ours")
                return Outcome(Result.SENT)

            here.mouth.script = script
            await here.office.add(make_target(), 10)
            here.office.put([make_signal(i, ANNAS) for i in range(10)])
            async with asyncio.timeout(30):
                while len(here.mouth.sent) < 9:
                    await asyncio.sleep(0.01)

    run(scenario())
