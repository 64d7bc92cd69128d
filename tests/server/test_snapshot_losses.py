"""server.snapshots when the power goes: a start finds the last whole snapshot, or the next."""

from __future__ import annotations

import random
from typing import Any

import pytest
from crash_disk import CrashDisk, PowerLossError
from snapshot_world import World, restarted, run

#: Disks tried for each step at which the power goes.
FATES = 30


def interrupted(step: int, make: type[CrashDisk] = CrashDisk) -> tuple[CrashDisk, set[int], bool]:
    """Saves on and on, rows coming in between, until the power goes at that step.

    Returns the disk, the rows a start may find, and whether the power went at all.
    """
    disk = make()
    world = World(disk)
    disk.before_step = world.apply
    disk.fail_at = {step: PowerLossError()}
    allowed = {0}
    world.apply()
    for _ in range(4):
        before = world.rows()
        try:
            saved = run(world.store.save())
        except PowerLossError:
            return disk, allowed | set(range(before, world.rows() + 1)), True
        assert saved
        allowed = {restarted(disk.copy()).check()}
    return disk, allowed, False


def test_a_loss_of_power_at_any_step_leaves_the_last_whole_snapshot_or_the_next() -> None:
    noise = random.Random(20)
    points = step = 0
    found: set[int] = set()
    while True:
        disk, allowed, lost = interrupted(step)
        if not lost:
            break
        for _ in range(FATES):
            after = disk.after_loss(noise)
            world = restarted(after)
            rows = world.check()
            assert rows in allowed, (step, disk.steps[-8:], rows, allowed, sorted(after.entries))
            found.add(rows)
            points += 1
            # What was left behind hinders nobody.
            world.apply(30)
            assert run(world.store.save())
            assert restarted(after).check() == world.rows()
        step += 1
    assert points >= 800
    assert len(found) >= 5


class ForgetfulDisk(CrashDisk):
    """Says that it synced a directory, and did not."""

    def sync_directory(self, directory: str) -> None:
        self._step("sync_directory")


class ForgetfulFileDisk(CrashDisk):
    """Says that it synced a file, and did not."""

    def create(self, path: str) -> Any:
        file = super().create(path)
        file.sync = lambda: self._step("sync")
        return file


@pytest.mark.parametrize("make", [ForgetfulDisk, ForgetfulFileDisk])
def test_the_tests_of_power_losses_would_notice_a_sync_left_out(make: type[CrashDisk]) -> None:
    noise = random.Random(22)
    losses = 0
    for step in range(29):
        disk, allowed, _ = interrupted(step, make)
        losses += sum(restarted(disk.after_loss(noise)).check() not in allowed for _ in range(10))
    assert losses > 20


def test_a_loss_of_power_at_two_restarts_in_a_row_leaves_a_whole_snapshot() -> None:
    """The second start works on what the first loss left: also on names nobody synced."""
    noise = random.Random(21)
    points = 0
    for first in range(0, 29, 2):
        disk, _, _ = interrupted(first)
        for second in range(1, 12):
            for _ in range(4):
                after = disk.after_loss(noise)
                world = restarted(after)
                before = world.check()
                world.apply(5)
                after.fail_at = {len(after.steps) + second: PowerLossError()}
                try:
                    run(world.store.save())
                except PowerLossError:
                    rows = restarted(after.after_loss(noise)).check()
                    assert rows in (before, before + 5)
                    points += 1
    assert points >= 300
