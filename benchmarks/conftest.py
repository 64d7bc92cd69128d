"""The ``bench`` fixture: measures, compares with peers, and fails what exceeds its budget."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import sysconfig
import time
import timeit
import tomllib
from collections.abc import Callable, Generator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import klinecore

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # for what benchmarks share: benchmarks.processes
BUDGETS = tomllib.loads((HERE / "budgets.toml").read_text())
PEER_ROUNDS = 15
PEER_ROUND_S = 0.005
# For a report: many short ones, as a busy machine must not make peers look slower than they are.
REPORT_ROUNDS, REPORT_ROUND_S = 600, 0.001
RETRIES = 5  # measurements more while over budget, so long apart
RETRY_PAUSE_S = 2.0
TRIES = 3  # runs of a whole benchmark while a figure of it is over budget

# Compiled like the core itself, so that a loop around it hides nothing and adds nothing.
SETUP = """
from Cython.Build import cythonize
from setuptools import Extension, setup

flags = ["-O3", "-g0", "-ffp-contract=off"]
extension = Extension("NAME", ["NAME.pyx"], extra_compile_args=flags)
directives = {"language_level": "3", "boundscheck": False, "wraparound": False}
setup(ext_modules=cythonize([extension], include_path=[INCLUDE], compiler_directives=directives))
"""


class Line(NamedTuple):
    """One line of the table at the end."""

    name: str
    value: float
    measured: str
    budget: str
    passed: bool


def figure(name: str, value: float, unit: str, peer_ns: float | None = None) -> dict[str, Any]:
    """What ``--benchmark-json`` keeps of a line, for ``python -m benchmarks.report``."""
    return {"name": name, "value": value, "unit": unit, "peer_ns": peer_ns}


LINES = pytest.StashKey[list[Line]]()


def fastest_ns(
    function: Callable[..., Any],
    *args: Any,
    rounds: int = PEER_ROUNDS,
    round_s: float = PEER_ROUND_S,
) -> float:
    """Nanoseconds of one call in the fastest of some rounds."""
    timer = timeit.Timer(lambda: function(*args))
    number = 1
    while (taken := timer.timeit(number)) < round_s:
        number = max(2 * number, int(number * round_s / max(taken, 1e-9)))
    # What takes longer than a round is not repeated for ever.
    rounds = max(PEER_ROUNDS, int(rounds * min(1.0, round_s / max(taken, 1e-9))))
    return min(timer.repeat(rounds, number)) * 1e9 / number


class Bench:
    """One benchmark's measurements; each is held against ``budgets.toml`` as it is made."""

    def __init__(
        self, benchmark: Any, name: str, budget: dict[str, Any], reports: bool = False
    ) -> None:
        self._benchmark = benchmark
        self._rounds = {"rounds": REPORT_ROUNDS, "round_s": REPORT_ROUND_S} if reports else {}
        self._name = name
        self._budget = budget
        self._ns: float | None = None
        self._lines: dict[str, Line] = {}
        self._figures: dict[str, dict[str, Any]] = {}
        self._repeats = False
        benchmark.extra_info["load"] = os.getloadavg()[0]

    @property
    def lines(self) -> list[Line]:
        return list(self._lines.values())

    @property
    def passed(self) -> bool:
        return all(line.passed for line in self.lines)

    def repeat(self) -> None:
        """From now on the benchmark's function runs once more: of each figure the best stays."""
        self._repeats = True

    def __call__(self, function: Callable[..., Any], *args: Any, items: int = 1) -> Any:
        """Measure ``function(*args)``, which handles ``items`` items; returns its result."""
        # A first call may map or make what later ones reuse. Calibration would take it for the
        # speed and time single calls, of which a clock reading is a good part.
        result = function(*args)
        if not self._repeats:  # pytest-benchmark measures one single time
            result = self._benchmark(function, *args)
        if self._benchmark.disabled:
            return result
        seconds = None if self._repeats else self._benchmark.stats.stats.min
        ns = (fastest_ns(function, *args) if seconds is None else seconds * 1e9) / items
        limit = self._budget.get("ns_per_item")
        for _ in range(RETRIES):
            if limit is None or ns <= limit:
                break
            # A neighbour on this machine may have slowed all of the rounds: the minimum over
            # more of them is still the minimum.
            time.sleep(RETRY_PAUSE_S)
            ns = min(ns, fastest_ns(function, *args) / items)
        line = self._line(self._name, ns, limit, "{:,.1f} ns", "<= {:,} ns")
        self._keep(line, figure(self._name, ns, "ns"))
        self._ns = ns
        return result

    def once(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run what takes seconds and is not timed closely one single time; returns its result."""
        if self._repeats:
            return function(*args, **kwargs)
        return self._benchmark.pedantic(function, args=args, kwargs=kwargs, rounds=1)

    def peer(self, name: str, function: Callable[..., Any], *args: Any, items: int = 1) -> Any:
        """Measure another way to the same end beside the benchmark; returns its result."""
        result = function(*args)
        if self._ns is not None:
            ns = fastest_ns(function, *args, **self._rounds) / items
            limit = self._budget.get("ratio", {}).get(name)
            shown = f"  / {name}, {ns:,.1f} ns"
            line = self._line(shown, self._ns / ns, limit, "{:,.2f} x", "<= {:g} x")
            self._keep(line, figure(name, self._ns / ns, "x", ns))
        return result

    def quantity(self, name: str, value: float) -> None:
        """Report a number that is no time, such as bytes."""
        limit = self._budget.get("limit", {}).get(name)
        line = self._line(f"{self._name}: {name}", value, limit, "{:,.1f}", "<= {:g}")
        self._keep(line, figure(name, value, ""))

    def _line(self, name: str, value: float, limit: float | None, shown: str, bound: str) -> Line:
        passed = limit is None or value <= limit
        budget = "" if limit is None else bound.format(limit)
        return Line(name, value, shown.format(value), budget, passed)

    def _keep(self, line: Line, made: dict[str, Any]) -> None:
        known = self._lines.get(made["name"])
        if known is None or line.value < known.value:
            self._lines[made["name"]] = line
            self._figures[made["name"]] = made
        self._benchmark.extra_info["figures"] = list(self._figures.values())

    def check(self) -> None:
        """Fail with everything that was over budget, after all of it was measured."""
        over = [
            f"{line.name}: {line.measured}, budget {line.budget}"
            for line in self.lines
            if not line.passed
        ]
        if over:
            pytest.fail("over budget: " + "; ".join(over), pytrace=False)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LINES] = []


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    lines = config.stash[LINES]
    if not lines:
        return
    terminalreporter.section("budgets (fastest round)")
    width = max(len(line.name) for line in lines)
    for line in lines:
        mark = "" if line.passed else "   OVER BUDGET"
        terminalreporter.write_line(
            f"{line.name:<{width}}  {line.measured:>14}   {line.budget}{mark}".rstrip()
        )


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Run a benchmark that is over budget again: a neighbour may have slowed it, all through."""
    result = yield
    bench = pyfuncitem.funcargs.get("bench")
    names = inspect.signature(pyfuncitem.function).parameters
    for n in range(1, TRIES):
        if bench is None or bench.passed:
            break
        time.sleep(RETRY_PAUSE_S)
        bench.repeat()
        arguments = {name: pyfuncitem.funcargs[name] for name in names}
        if "tmp_path" in arguments:
            arguments["tmp_path"] = arguments["tmp_path"] / f"again{n}"
            arguments["tmp_path"].mkdir()
        pyfuncitem.obj(**arguments)
    return result


@pytest.fixture
def bench(benchmark: Any, request: pytest.FixtureRequest) -> Any:
    """Measures and gates: ``bench(function, *args, items=n)``, then ``bench.peer(...)``."""
    module, function = request.path.stem, request.function.__name__
    reports = request.config.getoption("benchmark_json") is not None
    budget = BUDGETS[module][function]
    measured = Bench(benchmark, function.removeprefix("bench_"), budget, reports)
    yield measured
    request.config.stash[LINES].extend(measured.lines)
    measured.check()


def compiled(name: str, folder: Path) -> ModuleType:
    """A module of this folder, compiled against the klinecore that is imported."""
    pytest.importorskip("Cython", reason="Cython compiles the loops; it is in the test extra")
    pytest.importorskip("setuptools", reason="setuptools builds the loops")
    (folder / f"{name}.pyx").write_text((HERE / f"{name}.pyx").read_text())
    include = str(Path(klinecore.__file__).parents[1])
    setup = SETUP.replace("INCLUDE", repr(include)).replace("NAME", name)
    (folder / "setup.py").write_text(setup)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    path = folder / (name + sysconfig.get_config_var("EXT_SUFFIX"))
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def loop(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Loops in C around the data path."""
    return compiled("_loop", tmp_path_factory.mktemp("loop"))


@pytest.fixture(scope="session")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Loops in C around lanes."""
    return compiled("_sweep", tmp_path_factory.mktemp("sweep"))
