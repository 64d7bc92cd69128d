"""Writes what follows from the catalog: the typed faces of each family, and docs/indicators.md.

``python -m klinecore.indicators.writing`` writes them; a test holds them to the catalog.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import fill, indent

from klinecore.indicators.catalog import CATALOG, FAMILIES
from klinecore.indicators.entry import Indicator, Parameter

__all__ = ["face", "gathered", "main", "reference", "written"]

ROOT = Path(__file__).parents[2]
WIDTH = 96
TIME = "open_time_ms"
OTHERS = {
    "catalog": ["CATALOG"],
    "lanes": ["Lanes"],
    "sweep": ["Sweep"],
}  # offered beside the faces

HEAD = '''"""{title}, over arrays and row by row; written from the catalog."""

from __future__ import annotations

{imports}

__all__ = [
{names}
]
'''


def _typed(parameter: Parameter) -> str:
    if parameter.kind == "choice":
        words = ", ".join(f'"{c}"' for c in parameter.choices)
        kind = f"Literal[{words}]"
    else:
        kind = "int" if parameter.kind == "period" else "float"
    default = f'"{parameter.default}"' if parameter.kind == "choice" else repr(parameter.default)
    return f"{parameter.name}: {kind}" + ("" if parameter.default is None else f" = {default}")


def _parameters(entry: Indicator) -> list[str]:
    """As a signature lists them: words are given by name only."""
    words = [p for p in entry.parameters if p.kind == "choice"]
    rest = [_typed(p) for p in entry.parameters if p.kind != "choice"]
    return rest + (["*", *map(_typed, words)] if words else [])


def _with_out(entry: Indicator) -> list[str]:
    """Parameters of the function, ``out`` last and by name only."""
    parameters = _parameters(entry)
    kind = "tuple[Values, ...]" if len(entry.outputs) > 1 else "Values"
    star = [] if "*" in parameters else ["*"]
    return [*parameters, *star, f"out: {kind} | None = None"]


def _out_text(entry: Indicator) -> str:
    several = len(entry.outputs) > 1
    what = f"tuple of {len(entry.outputs)} float64 arrays" if several else "float64 array"
    return (
        f"out : {what}, shape (n,), contiguous, optional\n"
        "    Where to write, instead of new memory; not the memory of an input."
    )


def _signature(opening: str, arguments: list[str], result: str) -> str:
    line = f"{opening}({', '.join(arguments)}) -> {result}:"
    inner = len(opening) - len(opening.lstrip()) + 4
    if len(line) <= 100:
        return line
    joined = " " * inner + ", ".join(arguments)
    if len(joined) <= 100:
        return f"{opening}(\n{joined}\n{' ' * (inner - 4)}) -> {result}:"
    lines = "".join(f"{' ' * inner}{argument},\n" for argument in arguments)
    return f"{opening}(\n{lines}{' ' * (inner - 4)}) -> {result}:"


def _tuple(names: list[str]) -> str:
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"


def _inputs_text(entry: Indicator) -> str:
    names = [name for name in entry.inputs if name != TIME]
    text = f"{', '.join(names)} : float64 array{'s' if len(names) > 1 else ''}, shape (n,)\n"
    text += "    Oldest first; not modified."
    if TIME in entry.inputs:
        text += f"\n{TIME} : int64 or float64 array, shape (n,), optional\n"
        text += "    Only an anchor needs it."
    return text


def _parameter_text(parameter: Parameter) -> str:
    if parameter.kind == "choice":
        bounds = " or ".join(f'"{c}"' for c in parameter.choices)
    else:
        kind = "int" if parameter.kind == "period" else "float"
        bounds = f"{kind}, {parameter.low:,} to {parameter.high:,}"
    meaning = fill(parameter.meaning, WIDTH - 8, initial_indent="    ", subsequent_indent="    ")
    return f"{parameter.name} : {bounds}\n{meaning}"


def _notes(entry: Indicator) -> Iterator[str]:
    yield fill(f"Formula: {entry.formula}.", WIDTH - 4)
    if entry.seeding:
        yield fill(f"Start and edges: {entry.seeding}", WIDTH - 4)
    yield fill(f"TradingView: {entry.tradingview}", WIDTH - 4)
    yield fill(f"Source: {entry.source}.", WIDTH - 4)


def _function_doc(entry: Indicator) -> str:
    several = len(entry.outputs) > 1
    what = f"``({', '.join(entry.outputs)})``," if several else "A"
    parts = [
        f"{entry.title}.",
        "Parameters\n----------\n"
        + "\n".join(
            [_inputs_text(entry), *map(_parameter_text, entry.parameters), _out_text(entry)]
        ),
        "Returns\n-------\n"
        + fill(
            f"{what} float64 array{'s' if several else ''}, shape (n,), new unless "
            "``out`` is given; all defined from row "
            f"``{entry.rows_before}`` on, NaN before. A row with a number that is not finite "
            "gives NaN and changes nothing else.",
            WIDTH - 4,
        ),
        "Raises\n------\n"
        "ValueError: a parameter out of bounds, or an array of another type, shape or length.",
        "Notes\n-----\n"
        + "\n".join(_notes(entry))
        + f"\nO(n); bit-identical to ``n`` calls of ``{entry.stream}.update``.",
    ]
    return '"""' + "\n\n".join(parts) + '\n"""'


def _function(entry: Indicator) -> str:
    times = f"{TIME}: NDArray[np.int64] | Values | None = None"
    inputs = [times if name == TIME else f"{name}: Values" for name in entry.inputs]
    several = len(entry.outputs) > 1
    result = f"{entry.stream}Result[Values]" if several else "Values"
    columns = _tuple(list(entry.inputs))
    parameters = _tuple([p.name for p in entry.parameters])
    body = f"    result: {result} = _{entry.name.upper()}.batch({columns}, {parameters}, out)"
    if len(body) > 100:
        head, _, _ = body.partition("(")
        body = f"{head}(\n        {columns}, {parameters}, out\n    )"
    lines = [
        _signature(f"def {entry.name}", inputs + _with_out(entry), result),
        indent(_function_doc(entry), "    "),
        f"{body}\n    return result",
    ]
    return "\n".join(lines)


def _stream(entry: Indicator) -> str:
    several = len(entry.outputs) > 1
    result = f"{entry.stream}Result[float]" if several else "float"
    arguments = ", ".join(f"{n}=0.0" if n == TIME else n for n in entry.inputs)
    doc = fill(
        f'"""{entry.title}, row by row: ``update({arguments})``, ``preview`` of a forming row, '
        f"``value``, ``warm``; as ``{entry.name}``.",
        WIDTH,
        subsequent_indent="    ",
    )
    lines = [
        f"class {entry.stream}(Stream{len(entry.inputs)}[{result}]):",
        f'    {doc}\n    """',
        "    __slots__ = ()",
        _signature("    def __init__", ["self", *_parameters(entry)], "None"),
        f"        super().__init__(_{entry.name.upper()}, "
        f"{_tuple([p.name for p in entry.parameters])})",
    ]
    return "{}\n{}\n\n{}\n\n{}\n{}".format(*lines)


def _result(entry: Indicator) -> str:
    fields = "\n".join(f"    {name}: _T" for name in entry.outputs)
    doc = f'"""What ``{entry.name}`` gives: arrays, or numbers of one row."""'
    return f"class {entry.stream}Result(NamedTuple, Generic[_T]):\n    {doc}\n\n{fields}"


def _bound(entry: Indicator) -> str:
    result = f", {entry.stream}Result" if len(entry.outputs) > 1 else ""
    return f'_{entry.name.upper()} = KERNELS["{entry.name}"].bind(CATALOG["{entry.name}"]{result})'


def _imports(family: str, entries: list[Indicator]) -> str:
    kinds = [p for e in entries for p in e.parameters if p.kind == "choice"]
    typing = (
        ["Generic", "NamedTuple", "TypeVar"] if any(len(e.outputs) > 1 for e in entries) else []
    )
    typing += ["Literal"] if kinds else []
    timed = any(TIME in e.inputs for e in entries)
    streams = sorted({f"Stream{len(e.inputs)}" for e in entries})
    blocks = [
        f"from typing import {', '.join(sorted(typing))}\n" if typing else "",
        "import numpy as np\nfrom numpy.typing import NDArray\n" if timed else "",
        "from klinecore.indicators.catalog import CATALOG\n"
        "from klinecore.indicators.entry import Values\n"
        f"from klinecore.indicators.kernel import {', '.join(streams)}\n"
        f"from klinecore.indicators.kernels.{family} import KERNELS",
    ]
    return "\n".join(block for block in blocks if block)


def _names(entries: Iterable[Indicator], *others: str) -> list[str]:
    """What faces offer, in the order in which names are listed: classes, then functions."""
    listed = list(entries)
    classes = [*others, *(e.stream for e in listed)]
    classes += [f"{e.stream}Result" for e in listed if len(e.outputs) > 1]
    classes.sort(key=lambda name: (not name.isupper(), name.lower()))
    return classes + sorted(e.name for e in listed)


def gathered() -> str:
    """Text of the package's ``__init__``: every face by name."""
    lines = [
        '"""Indicators of klines: over arrays, and row by row; written from the catalog."""',
        "",
        "from __future__ import annotations",
        "",
    ]
    modules = dict.fromkeys(sorted([*FAMILIES, *OTHERS]))
    for module in modules:
        entries = [e for e in CATALOG.values() if e.family == module]
        names = OTHERS.get(module) or _names(entries)
        line = f"from klinecore.indicators.{module} import {', '.join(names)}"
        if len(line) > 100:
            listed = "".join(f"    {name},\n" for name in names)
            line = f"from klinecore.indicators.{module} import (\n{listed})"
        lines.append(line)
    others = [name for names in OTHERS.values() for name in names]
    offered = "".join(f'    "{name}",\n' for name in _names(CATALOG.values(), *others))
    return "\n".join([*lines, "", f"__all__ = [\n{offered}]"]) + "\n"


def face(family: str) -> str:
    """Text of the module that holds a family's functions and classes."""
    entries = [entry for entry in CATALOG.values() if entry.family == family]
    several = [entry for entry in entries if len(entry.outputs) > 1]
    parts = [
        HEAD.format(
            title=FAMILIES[family],
            imports=_imports(family, entries),
            names="\n".join(f'    "{name}",' for name in _names(entries)),
        ).rstrip()
    ]
    if several:
        parts.append('_T = TypeVar("_T")')
    text = "\n\n".join(parts)
    blocks = [*map(_result, several), "\n".join(map(_bound, entries))]
    for entry in entries:
        blocks += [_function(entry), _stream(entry)]
    return "\n\n\n".join([text, *blocks]) + "\n"


def _section(entry: Indicator) -> str:
    shown = ", ".join(
        [*entry.inputs]
        + [p.name if p.default is None else f"{p.name}={p.default!r}" for p in entry.parameters]
    )
    lines = [f"### {entry.name}", "", f"`{entry.name}({shown})`: {entry.title}.", ""]
    lines.append(f"- gives: {', '.join(f'`{name}`' for name in entry.outputs)}")
    for p in entry.parameters:
        if p.kind != "choice":
            lines.append(f"- `{p.name}`, {p.low:,} to {p.high:,}: {p.meaning}")
        elif p.name != "compat":
            lines.append(f"- `{p.name}`, {' or '.join(f'`{c}`' for c in p.choices)}: {p.meaning}")
    window = "those rows and the newest one"
    depends = window if entry.memory == "window" else "all rows since the first"
    lines += [
        f"- rows before the first value: `{entry.rows_before}`",
        f"- depends on: {depends}",
        f"- formula: {entry.formula}",
    ]
    lines += ["- in a filter: a condition"] if entry.condition else []
    lines += ["- a row may have no value: then there is none to tell"] if entry.sparse else []
    lines += [f"- start and edges: {entry.seeding}"] if entry.seeding else []
    same = f"`{entry.talib}`, within {entry.exact:g}" if entry.talib else "has none"
    lines += [
        f"- TA-Lib: {same}",
        f"- TradingView: {entry.tradingview}",
        f"- source: {entry.source}",
    ]
    return "\n".join(lines)


INTRODUCTION = """# Indicators

Written by `python -m klinecore.indicators.writing` from the catalog; do not edit.

Each has three faces with the same values, bit for bit: `kc.rsi(close, 14)` over whole arrays;
`kc.Rsi(14)` with `update(x)` for closed rows, `preview(x)` for the forming one, `value` and `warm`;
and `kc.Lanes("rsi", 14, lanes=500)`, which is 500 of those, stepped by one call. Several outputs
come as a named tuple: `kc.macd(close).hist`. `kc.Sweep(first, second, ...)` steps several `Lanes`
of the same series by one call: `update(close)` at a close, `tick(lane, price)` at a forming row.

- Inputs are float64 arrays of one dimension and one length, oldest first.
- Before the first value there is NaN.
- A row with a number that is not finite, or beyond 1e100, gives NaN and is left out: the next row
  follows the one before it.
- The default `compat="talib"` starts as TA-Lib 0.8 does and has its values from the first one on;
  `compat="tradingview"` exists where TradingView's differ.
- What is summed over a window is computed anew from the window once per window, and at once where
  a value that left takes digits with it: errors do not last, whatever went through.
- "within" is the largest relative difference to TA-Lib that the tests allow on ordinary prices.
"""


def reference() -> str:
    """Text of docs/indicators.md."""
    parts = [INTRODUCTION]
    for family, title in FAMILIES.items():
        parts.append(f"## {title}\n")
        parts += [_section(e) + "\n" for e in CATALOG.values() if e.family == family]
    return "\n".join(parts)


def written() -> dict[Path, str]:
    """Every file that is written, and what it holds."""
    folder = Path(__file__).parent
    files = {folder / f"{family}.py": face(family) for family in FAMILIES}
    files[folder / "__init__.py"] = gathered()
    files[ROOT / "docs" / "indicators.md"] = reference()
    return files


def main() -> None:
    """Write them."""
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
