"""The command line: many seeds in a few processes, one line each, and what they come to."""

from __future__ import annotations

import argparse
import sys

from simulation.runner import run_seeds


def _seeds(text: str) -> range:
    first, _, last = text.partition("..")
    return range(int(first), int(last or first) + 1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=_seeds, default=range(100), help="first..last; 0..99")
    parser.add_argument("--jobs", type=int, default=2, help="processes; 2")
    parser.add_argument("--hours", type=float, default=24.0, help="simulated, each seed; 24")
    parser.add_argument("--symbols", type=int, default=50, help="each in four intervals; 50")
    parser.add_argument("--market", choices=["spot", "um"], help="by the seed, if not given")
    parser.add_argument("--faults", help="only these classes, separated by commas")
    parser.add_argument("--trace", action="store_true", help="print each trace's last lines")
    chosen = parser.parse_args()
    names = tuple(chosen.faults.split(",")) if chosen.faults else None
    summary = run_seeds(
        chosen.seeds,
        jobs=chosen.jobs,
        hours=chosen.hours,
        symbols=chosen.symbols,
        market=chosen.market,
        names=names,
        out=sys.stdout,
        trace=chosen.trace,
    )
    return 0 if summary.ok else 1


if __name__ == "__main__":
    sys.exit(main())
