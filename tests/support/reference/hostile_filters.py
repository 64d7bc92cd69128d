"""Texts that no filter may be: ways out of other sandboxes, and ways to use up a machine."""

from __future__ import annotations

__all__ = ["BOMBS", "ESCAPES", "HOSTILE", "named"]

WALKS = r"""
().__class__.__bases__[0].__subclasses__()
().__class__.__base__.__subclasses__()[140]
''.__class__.__mro__
"".__class__.__mro__[1].__subclasses__() > 0
[].__class__.__base__
{}.__class__.__bases__
close.__class__
close.__class__ > 3
rsi(14).__init__.__globals__
rsi(14).__class__ > 0
rsi.__globals__ > 0
rsi.__code__.co_code > 0
rsi.__closure__
rsi.__wrapped__ > 0
rsi.__self__ > 0
rsi.__module__ == "os"
rsi.__defaults__[0] > 0
(lambda:0).__globals__
(lambda: 0).__code__
f.__closure__
x.__init__.__globals__['__builtins__']
close.__init__.__globals__["__builtins__"]["eval"]("1") > 0
__import__('os')
__import__("os").system("id") == 0
__loader__
__spec__
__builtins__
__builtins__.eval("1") > 0
__name__ == "__main__"
__file__ == ""
__debug__
__class_getitem__
__init_subclass__
close.__class_getitem__(1) > 0
close.__subclasshook__ > 0
print.__self__
print.__reduce__()[0]
(1).__reduce_ex__(2)
(1).__class__ > 0
(1).real > 0
1..__class__ > 0
1 .__class__ > 0
close.real > 0
close._value > 0
_ > 0
_private > 0
close.__dict__ > 0
close.__doc__ == ""
macd(12, 26, 9).__class__ > 0
macd(12, 26, 9)._fields > 0
ticker.__class__ > 0
ticker.last.__class__ > 0
ticker.__dict__["x"] > 0
type(close).__mro__[1] > 0
""".strip().splitlines()

BUILTINS = r"""
open('/etc/passwd').read()
open > eval
eval('1') > 0
eval("close > 3")
exec('import os')
compile('1', '', 'eval') > 0
globals() > 0
globals()['x'] > 0
locals() > 0
vars() > 0
vars(close) > 0
dir() > 0
dir(close) > 0
getattr(x,'__cl'+'ass__')
getattr(close, "__class__") > 0
setattr(close, "x", 1) > 0
delattr(close, "x") > 0
hasattr(close, "x")
type('X', (object,), {}) > 0
type(close) > 0
object() > 0
super() > 0
breakpoint() > 0
input() > 0
help() > 0
print(close) > 0
exit() > 0
quit() > 0
memoryview(close) > 0
bytearray(1000000000) > 0
range(10) > 0
sum(close) > 0
pow(9, 99) > 0
int("9") > 0
chr(65) > 0
id(close) > 0
hash(close) > 0
iter(close) > 0
map(abs, close) > 0
filter(close > 1)
copyright() > 0
classmethod(close) > 0
""".strip().splitlines()

FORMATS = r"""
'{0.__class__}'.format(x)
"{0.__class__}".format(close) > 0
'{a[b]}'.format_map(x) > 0
f"{close}" > 0
f"{close.__class__}" == ""
f'{1:{2}}' > 0
f"{close!r:>{10}}" > 0
t"{close}" > 0
'%s' % close > 0
"%x" % 5 > 0
string.Formatter().format("{0}", 1) > 0
"a" "b" > 0
"a" + "b" > 0
"close" > 3
'close' @ "1h" > 3
rsi("14") > 0
sma("close", 20) > 0
close["open"] > 3
ticker["last"] > 0
b"close" > 0
rb'close' > 0
u"close" > 0
r"close" > 0
""".strip().splitlines()

FRAMES = r"""
gi_frame.f_back.f_globals
(x for x in y).gi_frame.f_back > 0
g.gi_code > 0
c.cr_frame > 0
a.ag_frame > 0
e.tb_frame.f_globals > 0
e.__traceback__.tb_frame > 0
AttributeError.obj > 0
AttributeError.name > 0
ExceptionGroup("x", [e]) > 0
sys._getframe() > 0
sys.modules["os"] > 0
os.system("id") == 0
subprocess.run("id") > 0
importlib.import_module("os") > 0
socket.socket() > 0
builtins.eval("1") > 0
np.__dict__
np.lib.npyio.np.os > 0
np.load("x", allow_pickle=1) > 0
np.array(1) > 0
numpy.fromfile("x") > 0
df.eval("close") > 0
df.query("@__builtins__")
df.query('@__builtins__.eval("1")') > 0
pd.io.common.os
pd.read_pickle("x") > 0
math.__loader__
math.sqrt(4) > 0
pickle.loads("x") > 0
ctypes.string_at(0) > 0
klinecore.market > 0
market["BTCUSDT"] > 0
trader("other") > 0
filters.mine > 0
""".strip().splitlines()

SYNTAX = r"""
x := 5
(x := 5) > 3
(close := 5) > 3
lambda: 0
lambda x: x > 3
(lambda: close > 3)()
[x for x in close]
[close > 3]
[close, open][0] > 3
{close: 3}
{close}
{**close}
(close, open) > 3
close, open
(x for x in close)
any(x > 3 for x in close)
close if open > 3 else high
close > 3 if open > 3 else open > 3
await close > 3
yield close
(yield) > 3
(yield from close) > 3
async def f(): pass
def f(): pass
class X: pass
@close
import os
from os import system
global close
nonlocal close
del close
return close > 3
raise close
assert close > 3
pass
close > 3; open > 3
close > 3 # and open > 3
close: int = 3
close: int
close = 3
close += 3
close == 3 == True
True
False
None
None > 3
close is close
close is not None
close in open
close not in open
...
close[...] > 3
close[1:5] > 3
close[:] > 3
close[::2] > 3
close[1, 2] > 3
close[close] > 3
close[1.5] > 3
close["a"] > 3
close[rsi(14)] > 3
close[-1] > 3
close[+1] > 3
close[True] > 3
*close > 3
rsi(*close) > 3
rsi(**close) > 3
rsi(14, **{}) > 3
rsi(14)(14) > 3
rsi(14).value() > 3
(rsi)(14) > 3
close() > 3
5() > 3
5[1] > 3
close @ 5 > 3
close @ open > 3
close @ "1h" @ "4h" > 3
(close @ "1h" + close) @ "4h" > 3
close @ "2M" > 3
close @ "" > 3
close @ "../etc" > 3
close @ "1h; drop table" > 3
"1h" @ close > 3
close @= 3
close ** 2 > 3
close % 2 == 0
close // 2 > 3
close << 2 > 3
close >> 2 > 3
close & 2 > 3
close | 2 > 3
close ^ 2 > 3
~close > 3
close && open
close || open
!close
close <> 3
close === 3
close -> 3
close?
`close`
$close > 3
1j > 3
5J > close
0x10 > close
0o17 > close
0b11 > close
1__0 > close
1_ > close
.5.5 > close
1e > close
1e999 > close
1e101 > close
14rsi > 3
match close: case 1
try: close
except* close
with close as x: x
while close: pass
for x in close: pass
print close
exec "x"
close > 3 and
and close > 3
close >
> 3
close close
close > > 3
close > 3)
(close > 3
[close > 3
close > 3]
(close > 3]
rsi(14,) > 3
rsi(,14) > 3
rsi(14 15) > 3
rsi(period=) > 3
rsi(14, period=14) > 3
rsi(period=14, period=15) > 3
rsi(14)[0].x > 3
not
not not
""".strip().splitlines()

# Written by number: what they are would be hard to see, or would not be text in a file.
UNPRINTABLE = [
    chr(0xFF45) + "val(1) > 0",  # a fullwidth letter, which Python folds to e
    "".join(chr(0xFF00 + ord(c) - 0x20) for c in "eval") + "('1') > 0",
    chr(0x441) + "lose > 3",  # Cyrillic es
    "clo" + chr(0x455) + "e > 3",
    chr(0x1D41C) + "lose > 3",  # mathematical bold c
    "close > " + chr(0x663),  # an Arabic digit
    "close > " + chr(0xFF13),
    "close " + chr(0xFF1E) + " 3",
    "close" + chr(0x200B) + " > 3",  # zero width
    "close" + chr(0x200D) + " > 3",
    "close " + chr(0x202E) + "3 > ",  # right to left
    "close > 3 " + chr(0x2066) + "or open" + chr(0x2069),
    chr(0xFEFF) + "close > 3",  # byte order mark
    "close > 3" + chr(0),
    chr(0) + "close > 3",
    "close" + chr(0) + " > 3",
    "close > 3\n",
    "close > 3\r\n",
    "close >\n3",
    "close > \\\n3",
    "close > 3\x0c",
    "close > 3\x1b[2J",
    "close > 3\x7f",
    "close\u00a0> 3",
    "close > 3\u2028open > 3",
    "close\\u0020> 3",
    "\\u0063lose > 3",
    "close > '\\x41'",
    chr(0xD800) + " > 3",
    "close > 3" + chr(0xDFFF),
    chr(0x1F4A9) + " > 3",
    "caf" + chr(0xE9) + " > 3",
    "cafe" + chr(0x301) + " > 3",
    "\ufb01lter > 3",  # a ligature
    "close \u2264 3",
    "close \u2260 3",
    "close > \u221e",
]

ELSEWHERE = r"""
constructor.constructor("return process")() > 0
this.constructor.constructor("return 1")() > 0
close.constructor > 0
close.__proto__ > 0
close["__proto__"] > 0
process.env > 0
require("fs") > 0
alert(1)
<script>alert(1)</script>
'; drop table traders; --
1; select * from traders
close > 3 or 1=1 --
close > 3 /* x */
{{7*7}}
${7*7}
#{7*7}
<%= 7*7 %>
{% import os %}
$(id)
`id`
;id
|id
../../etc/passwd
file:///etc/passwd
%00
\x41
""".strip().splitlines()

ESCAPES = [*WALKS, *BUILTINS, *FORMATS, *FRAMES, *SYNTAX, *UNPRINTABLE, *ELSEWHERE]


def _sum_of(count: int) -> str:
    return " + ".join(["close"] * count) + " > 3"


BOMBS = [
    "(" * 10_000 + "close" + ")" * 10_000 + " > 3",
    "(" * 2_000 + "close" + ")" * 2_000 + " > 3",
    "(" * 33 + "close > 3" + ")" * 33,
    "[" * 4_000,
    "(" * 4_096,
    ")" * 4_096,
    "-" * 100_000 + "close > 3",
    "-" * 4_080 + "close > 3",
    "+" * 4_080 + "close > 3",
    "not " * 100_000 + "close > 3",
    "not " * 1_000 + "close > 3",
    "- " * 2_000 + "close > 3",
    "-(" * 1_000 + "close" + ")" * 1_000 + " > 3",
    "abs(" * 1_000 + "close" + ")" * 1_000 + " > 3",
    "abs(" * 40 + "close" + ")" * 40 + " > 3",
    "close" + "[1]" * 1_300 + " > 3",
    "close" + "[1]" * 40 + " > 3",
    "close[250][250][250] > 3",
    "close[500][500] > 3",
    "macd(12, 26, 9)" + ".hist" * 800 + " > 3",
    "close" + ".x" * 2_000 + " > 3",
    "close" + "()" * 2_000 + " > 3",
    "close" + ' @ "1h"' * 500 + " > 3",
    " " * 1_000_000,
    " " * 1_000_000 + "close > 3",
    "close > 3" + " " * 4_096,
    "x" * 1_000_000,
    "x" * 4_096,
    "close > " + "9" * 1_000_000,
    "close > " + "9" * 4_000,
    "close > 0." + "9" * 1_000_000,
    "close > 1e" + "9" * 4_000,
    "rsi(" + "9" * 4_000 + ") > 3",
    "close[" + "9" * 4_000 + "] > 3",
    "close @ '" + "h" * 4_000 + "' > 3",
    "'" * 4_096,
    '"' * 4_095,
    "close < " * 10_000 + "3",
    "close < " * 500 + "foo",
    "close > 3 and " * 10_000 + "close > 3",
    "close > 3 or " * 300 + "close > 3",
    _sum_of(10_000),
    _sum_of(500),
    _sum_of(40),
    "close" + "*close" * 600 + " > 3",
    "close" + "/close" * 600 + " > 3",
    "close" + "-1" * 2_000 + " > 3",
    " + ".join(f"close[{n}]" for n in range(1, 300)) + " > 3",
    " and ".join(f"close > {n}" for n in range(260)),
    " and ".join(f"rsi({n}) > 3" for n in range(2, 70)),
    " or ".join(f"sma({n}) > 3" for n in range(1, 1_001)),
    " or ".join(f"sma({n}) > 3" for n in range(437, 501)),
    " or ".join(f"rsi({n}) > 3" for n in range(1, 200)),
    " or ".join(f'close @ "{i}" > 3' for i in ("1m", "3m", "5m", "15m", "30m")),
    " or ".join(f"macd({n + 2}, {n + 9}, {n + 2}).hist > 0" for n in range(58)) + " or stochrsj",
    " or ".join(f"supertrend({n + 2}).trend > {n}" for n in range(60)) + " or adx(4).trend",
    "<".join(f"close + {n}" for n in range(120)) + " or stochrsj",
    "count(" * 14 + "<".join(f"close*{n}" for n in range(70)) + ", 5) > 3" * 14 + " or stochrsj",
    "min(" + "close, " * 1_000 + "open) > 3",
    "min(" + "close, " * 400 + "open) > 3",
    "rsi(" + "14, " * 1_000 + "14) > 3",
    "rsi(" + "period=14, " * 300 + "period=14) > 3",
    "count(" * 20 + "close > 3" + ", 5) > 3" * 20,
    "1 < count(" * 16 + "close > 3" + ", 50) < 9" * 16,
    "9**9**9 > close",
    "9**99999999 > close",
    "1<<10**9 > close",
    "'a'*10**9",
    "('a' * 1000000000) > close",
    "(1,) * 1000000000 > close",
    "[0] * 1000000000 > close",
    "sma(0) > 3",
    "sma(-1) > 3",
    "sma(-5) > 3",
    "sma(close, 0) > 3",
    "sma(close, -1) > 3",
    "sma(close, 1000000000) > 3",
    "sma(close, 1e9) > 3",
    "sma(close, 501) > 3",
    "sma(nan) > 3",
    "sma(close, nan) > 3",
    "sma(inf) > 3",
    "sma(close, 20.5) > 3",
    "sma(close, 20.0) > 3",
    "sma(close, close) > 3",
    "sma(close, 2 * 10) > 3",
    "sma(sma(sma(close, 200), 200), 200) > 3",
    "highest(highest(close, 300), 300) > 3",
    "count(close > open, 0) > 3",
    "count(close > open, -5) > 3",
    "count(close > open, 501) > 3",
    "count(close > open, 1000000000) > 3",
    "any_of(any_of(any_of(close > 3, 300), 300), 300)",
    "rising(close, 0)",
    "rising(close, 100000)",
    "bb(20, 1e300).upper > 3",
    "bb(20, nan).upper > 3",
    "bb(20, 1e999).upper > 3",
    "ema(ema(ema(ema(ema(close, 200), 200), 200), 200), 200) > 3",
    "top(close, 0)",
    "top(close, 1000000)",
    "close[501] > 3",
    "close[1000000000] > 3",
    "close[0.5] > 3",
    "sma(close[400], 400) > 3",
    'sma(close, 400)[400] @ "1h" > 3',
]

HOSTILE = [*ESCAPES, *BOMBS]


def named(text: str) -> str:
    """A short name of a text for the reports of tests."""
    shown = text if len(text) <= 40 else f"{text[:30]}...({len(text)})"
    return "".join(c if "!" <= c <= "~" else "_" for c in shown)
