"""Many seeds in several processes: a table, a progress line, and the command that repeats one."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from typing import NamedTuple, TextIO

from simulation.seeds import Outcome, run_seed

__all__ = ["Summary", "command_for", "run_seeds"]

#: Lines of a failed seed's trace that are printed.
_LINES_TOLD = 40

_HEAD = "seed  market verdict  faults     rows   closes  cpu s  x real  trace"


class Summary(NamedTuple):
    """Sums over all seeds."""

    seeds: int
    failed: tuple[int, ...]
    hours: float  # simulated, all seeds
    injected: dict[str, int]  # faults by name
    rows: int
    closes: int
    cpu_s: float
    wall_s: float
    slowest_s: float  # CPU seconds

    @property
    def ok(self) -> bool:
        """True if no seed failed."""
        return not self.failed

    def __str__(self) -> str:
        faults = sum(self.injected.values())
        simulated_s = self.hours * 3600.0
        return (
            f"seeds: {self.seeds}, failed: {len(self.failed)}; {self.hours:,.0f} simulated hours, "
            f"{faults:,} faults ({faults / max(self.hours, 1e-9):.1f} an hour)\n"
            f"{self.rows:,} rows and {self.closes:,} closes equal to the truth\n"
            f"{self.cpu_s:,.0f} CPU s ({self.cpu_s / max(self.seeds, 1):.1f} a seed, at most "
            f"{self.slowest_s:.1f}), {self.wall_s:,.0f} s; {simulated_s / self.cpu_s:,.0f}x real "
            f"time a core, {simulated_s / self.wall_s:,.0f}x in all"
        )


class _Timed(NamedTuple):
    outcome: Outcome
    cpu_s: float


def run_seeds(
    seeds: Iterable[int],
    *,
    jobs: int = 2,
    hours: float = 24.0,
    symbols: int = 50,
    market: str | None = None,
    names: tuple[str, ...] | None = None,
    out: TextIO,
    trace: bool = False,
) -> Summary:
    """Run every seed once and print what became of it, in the order of their ends."""
    seeds = list(seeds)
    started_s = time.monotonic()
    one = partial(_run_timed, symbols=symbols, hours=hours, market=market, names=names)
    print(_HEAD, file=out, flush=True)
    done: list[_Timed] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context) as pool:
        for future in as_completed([pool.submit(one, seed) for seed in seeds]):
            timed = future.result()
            done.append(timed)
            _tell(timed, out)
            if not timed.outcome.ok or trace:
                _report(timed.outcome, command_for(timed.outcome, symbols, hours, names), out)
            _progress(done, len(seeds), time.monotonic() - started_s, out)
    summary = _sum(done, time.monotonic() - started_s)
    print(summary, file=out)
    for name, count in sorted(summary.injected.items()):
        print(f"  {name:<18}{count:>8,}", file=out)
    return summary


def command_for(outcome: Outcome, symbols: int, hours: float, names: tuple[str, ...] | None) -> str:
    """What repeats one seed."""
    command = (
        f"PYTHONPATH=tests/support python -m simulation --seeds {outcome.seed} --jobs 1 "
        f"--symbols {symbols} --hours {hours:g} --market {outcome.market} --trace"
    )
    return command + (f" --faults {','.join(names)}" if names else "")


def _run_timed(
    seed: int,
    *,
    symbols: int,
    hours: float,
    market: str | None,
    names: tuple[str, ...] | None,
) -> _Timed:
    started_s = time.process_time()
    outcome = run_seed(seed, symbols=symbols, hours=hours, market=market, names=names)
    return _Timed(outcome, time.process_time() - started_s)


def _tell(timed: _Timed, out: TextIO) -> None:
    outcome, cpu_s = timed
    verdict = outcome.verdict
    print(
        f"{outcome.seed:>4}  {outcome.market:<6} {'ok' if outcome.ok else 'FAILED':<7} "
        f"{sum(outcome.injected.values()):>7} {verdict.rows_checked:>8} {verdict.closes_told:>8} "
        f"{cpu_s:>6.1f} {outcome.hours * 3600 / cpu_s:>7,.0f}  {outcome.trace_hash[:12]}",
        file=out,
        flush=True,
    )


def _report(outcome: Outcome, command: str, out: TextIO) -> None:
    print(f"--- seed {outcome.seed}; again: {command}", file=out)
    for fault in outcome.verdict.faults:
        print(f"    {fault}", file=out)
    for line in outcome.lines[-_LINES_TOLD:]:
        print(f"    | {line[:200]}", file=out)


def _progress(done: list[_Timed], total: int, passed_s: float, out: TextIO) -> None:
    if not out.isatty():
        return
    left_s = passed_s / len(done) * (total - len(done))
    failed = sum(not timed.outcome.ok for timed in done)
    print(f"{len(done)}/{total}, {failed} failed, {left_s / 60:.1f} min left", end="\r", file=out)


def _sum(done: list[_Timed], wall_s: float) -> Summary:
    injected: Counter[str] = Counter()
    for timed in done:
        injected.update(timed.outcome.injected)
    return Summary(
        seeds=len(done),
        failed=tuple(sorted(timed.outcome.seed for timed in done if not timed.outcome.ok)),
        hours=sum(timed.outcome.hours for timed in done),
        injected=dict(injected),
        rows=sum(timed.outcome.verdict.rows_checked for timed in done),
        closes=sum(timed.outcome.verdict.closes_told for timed in done),
        cpu_s=sum(timed.cpu_s for timed in done),
        wall_s=wall_s,
        slowest_s=max((timed.cpu_s for timed in done), default=0.0),
    )
