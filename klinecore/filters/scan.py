"""Reads a filter's characters and signs before anything else may: what passes is an expression.

Python's own parser, which makes the tree, is safe only with text that is short, plain and flat: it
folds letters of other alphabets into names, and deep nesting ends in an exception, or takes long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from keyword import kwlist
from typing import NamedTuple, NoReturn

from klinecore.errors import FilterError
from klinecore.filters.limits import Limits

__all__ = ["Token", "nearest", "scan"]

_TOKEN = re.compile(
    r"""[ \t]*(?:
    (?P<number>(?:[0-9](?:_?[0-9])*(?:\.(?:[0-9](?:_?[0-9])*)?)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<string>"[^"\n]*"|'[^'\n]*')
    |(?P<sign>==|!=|<=|>=|&&|\|\||\*\*|//|<<|>>|<>|:=|->|\.\.\.|[-+*/@<>()\[\],.=&|!%^~:;?{}$`])
    )""",
    re.X,
)
_BINARY = frozenset(["+", "-", "*", "/", "@", "<", "<=", ">", ">=", "==", "!=", "and", "or"])
_WORDS = frozenset(("and", "or", "not"))
#: Reserved by Python; the parser below must never see them.
_RESERVED = {*kwlist} - _WORDS
_CLOSES = {"(": ")", "[": "]"}
_INSTEAD = {
    "&&": "write and",
    "&": "write and",
    "||": "write or",
    "|": "write or",
    "!": "write not",
    "~": "write not",
    "<>": "write !=",
    "^": "there are no powers: multiply",
    "**": "there are no powers: multiply",
    "//": "write /",
    "?": "there is no choice of values; join conditions with and, or, not",
    "if": "a filter is a condition itself; join conditions with and, or, not",
    "else": "a filter is a condition itself; join conditions with and, or, not",
    "is": "write ==",
    "in": "write low < x < high",
    "%": "there is no remainder and no percent sign: 5 % is 0.05",
    ";": "join conditions with and",
    "crosses": "write crosses_above(x, y)",
    "True": "write a comparison",
    "False": "write a comparison",
}
_PLAIN = "only letters, digits, spaces and the signs of the language may be used"
_VALUE = "such as close, 14 or rsi(14)"
_SIGN = "signs are + - * / < <= > >= == != @ [n] ( ) and the words and, or, not"
_NAME = "names are columns, indicators and operations: close, rsi(14), count(x > y, n)"
_ODD = re.compile(r"[^\t -~]|[\\#]")


@dataclass(slots=True)
class _Bracket:
    opening: Token
    call: bool
    signs: int  # before and around it
    argument: Token | None = None  # the first of the argument that is read
    named: bool = False  # whether an argument had a name
    naming: bool = False  # whether this one has


class Token(NamedTuple):
    """A name, number, string or sign, and where it starts."""

    kind: str
    text: str
    offset: int


def nearest(name: str, names: list[str]) -> str:
    """A hint that suggests the name most like ``name``; "" if none is."""
    found = get_close_matches(name.lower()[:40], names, n=1, cutoff=0.6)
    return f"did you mean {found[0]}?" if found else ""


def scan(text: str, limits: Limits) -> list[Token]:
    """The tokens of a text that is an expression of the language's signs.

    Raises
    ------
    FilterError: a character, sign or order of signs that is none, or a limit.
    """
    if len(text) > limits.text:
        raise FilterError(
            f"a filter has at most {limits.text:,} characters, this has {len(text):,}",
            text, limits.text, "limit: text",
        )  # fmt: skip
    _characters(text)
    tokens = _tokens(text, limits)
    if not tokens:
        raise FilterError("the filter is empty", text, 0, "write a condition: rsi(14) < 30")
    _Order(text, tokens, limits).check()
    return tokens


def _characters(text: str) -> None:
    """Refuse what is no printable ASCII, and what may hide something."""
    if odd := _ODD.search(text):
        character = odd[0]
        shown = character if character in "\\#" else f"U+{ord(character):04X}"
        hint = "write it in one line" if character in "\r\n" else _PLAIN
        raise FilterError(f"the character {shown} is not allowed", text, odd.start(), hint)


def _tokens(text: str, limits: Limits) -> list[Token]:
    tokens: list[Token] = []
    position, end = 0, len(text.rstrip(" \t"))
    for found in _TOKEN.finditer(text, 0, end):
        if found.start() != position:
            break
        position = found.end()
        kind = found.lastgroup or ""
        token = Token(kind, found[kind], found.start(kind))
        if kind == "number" and text[position : position + 1].isalnum():
            after_at = bool(tokens) and tokens[-1].text == "@"
            hint = 'intervals stand in quotes: @ "1h"' if after_at else "such as 14, 0.5 or 1e6"
            raise FilterError("this is no number", text, token.offset, hint)
        tokens.append(token)
        if len(tokens) > limits.tokens:
            raise FilterError(
                f"a filter has at most {limits.tokens:,} names, numbers and signs",
                text, token.offset, "limit: tokens",
            )  # fmt: skip
    if position < end:
        offset = position + len(text[position:]) - len(text[position:].lstrip(" \t"))
        quote = text[offset] in "\"'"
        message = "this quote is not closed" if quote else "this cannot be read"
        raise FilterError(message, text, offset, 'such as "1h"' if quote else _PLAIN)
    return tokens


class _Order:
    """Whether values and signs follow each other as in an expression.

    Goes through the tokens once with a stack of open brackets; ``value`` says that a value must
    come next. Signs before a value nest as brackets do, so they count.
    """

    def __init__(self, text: str, tokens: list[Token], limits: Limits) -> None:
        self.text = text
        self.tokens = tokens
        self.limits = limits
        self.open: list[_Bracket] = []
        self.signs = 0  # before the value that must come, and around it
        self.value = True
        self.before = self.last = Token("", "", 0)

    def check(self) -> None:
        for token in self.tokens:
            if token.text in _RESERVED or token.text.startswith("__"):
                self.refuse(token, f"{token.text[:40]} is no word of the language", _NAME)
            if self.open and self.last.text in ("(", ","):
                self.open[-1].argument = token
            if self.value:
                self.value_at(token)
            else:
                self.sign_at(token)
            if len(self.open) + self.signs > self.limits.depth:
                self.refuse(token, f"nested deeper than {self.limits.depth}", "limit: depth")
            self.before, self.last = self.last, token
        if self.open:
            opening = self.open[-1].opening
            closing = _CLOSES[opening.text]
            self.refuse(opening, f"this {opening.text} is not closed", f"expected {closing}")
        if self.value:
            end = Token("", "", len(self.text.rstrip(" \t")))
            self.refuse(end, "the filter ends where a value was expected", _VALUE)

    def refuse(self, token: Token, message: str, hint: str = "") -> NoReturn:
        hint = _INSTEAD.get(token.text) or hint
        raise FilterError(message, self.text, token.offset, hint)

    def value_at(self, token: Token) -> None:
        if self.last.text == ".":
            if token.kind != "name":
                self.refuse(token, "expected a name after the point", "such as .hist")
            self.read()
        elif token.text == "not":
            if self.last.text not in ("", "(", "[", ",", "=", "and", "or", "not"):
                self.refuse(token, "not cannot stand here", "put it in brackets: (not ...)")
            self.signs += 1
        elif token.text in ("+", "-"):
            self.signs += 1
        elif token.text == "(":
            self.open.append(_Bracket(token, False, self.signs))
        elif token.text == ")" and self.last.text == "(" and self.open[-1].call:
            self.close(token)
        elif token.kind == "sign" or token.text in _WORDS:
            self.refuse(token, f"expected a value, not {token.text}", _VALUE)
        else:
            self.read()

    def read(self) -> None:
        """A value is read: the signs before it are used up."""
        self.value = False
        self.signs = self.open[-1].signs if self.open else 0

    def sign_at(self, token: Token) -> None:
        if token.kind != "sign" and token.text not in _WORDS:
            known = token.text.lower() in _WORDS
            hint = f"write {token.text.lower()}" if known else "such as <, + or and"
            if self.open and self.open[-1].call and not known:
                hint = "arguments have commas between them"
            self.refuse(token, "expected a sign between two values", hint)
        elif token.text in _BINARY:
            self.value = True
        elif token.text == "(":
            if self.last.kind != "name":
                self.refuse(token, "only a name can be called", "such as rsi(14)")
            self.open.append(_Bracket(token, True, self.signs))
            self.value = True
        elif token.text == "[":
            if self.last.kind != "name" and self.last.text not in (")", "]"):
                self.refuse(token, "only a value has values before it", "such as close[1]")
            self.open.append(_Bracket(token, False, self.signs))
            self.value = True
        elif token.text in (")", "]"):
            self.close(token)
        elif token.text == ".":
            if self.last.kind != "name" and self.last.text != ")":
                self.refuse(token, "only a call has named outputs", "such as macd(12, 26, 9).hist")
            self.value = True
        else:
            self.argument_at(token)

    def close(self, token: Token) -> None:
        if not self.open or _CLOSES[self.open[-1].opening.text] != token.text:
            opened = self.open[-1].opening.text if self.open else ""
            hint = f"expected {_CLOSES[opened]} to close {opened}" if opened else "leave it out"
            self.refuse(token, f"this {token.text} closes nothing", hint)
        self.argument_ends()
        self.open.pop()
        self.read()

    def argument_at(self, token: Token) -> None:
        """A comma or = between arguments; anything else is no sign of the language."""
        inside = bool(self.open) and self.open[-1].call
        named = self.last.kind == "name" and self.before.text in ("(", ",")
        if inside and token.text == ",":
            self.argument_ends()
            self.value = True
        elif inside and token.text == "=" and named:
            self.open[-1].named = self.open[-1].naming = True
            self.value = True
        elif token.text == "=":
            turned = {"=>": "write >=", "=<": "write <="}
            hint = turned.get(self.text[token.offset : token.offset + 2], "write ==")
            self.refuse(token, "= compares nothing", hint)
        elif token.text == ",":
            number = self.last.kind == "number"
            hint = "numbers have a point: 1.02" if number else "such as max(open, close)"
            self.refuse(token, "a comma stands only between the arguments of a call", hint)
        else:
            self.refuse(token, f"{token.text} is no sign of the language", _SIGN)

    def argument_ends(self) -> None:
        """An argument is whole: one without a name does not follow one with a name."""
        bracket = self.open[-1]
        if bracket.named and not bracket.naming and bracket.argument:
            message = "an argument without a name follows one with a name"
            self.refuse(bracket.argument, message, "put it first")
        bracket.naming = False
