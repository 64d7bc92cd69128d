"""Every tree has one text, and every text one tree."""

from __future__ import annotations

import ast
import re

from filter_fuzz import Fuzzer
from hypothesis import assume, given
from hypothesis import strategies as st
from reference.filter_trees import reads, trees

from klinecore.filters import FilterError, Limits, Node, compile, parse_expression
from klinecore.filters.scan import _TOKEN
from klinecore.filters.tree import TIME


def shape(root: Node) -> object:
    """What a tree is made of, apart from texts."""
    shapes: dict[int, object] = {}
    numbers: dict[object, int] = {}
    for node in root.walk():
        args = tuple(shapes[id(arg)] for arg in node.args)
        kinds = tuple(map(type, node.params))
        own = (node.op, args, node.params, kinds, node.interval, node.kind)
        # A number for each shape keeps them small however often a part is used.
        shapes[id(node)] = numbers.setdefault(own, len(numbers))
    return tuple(numbers)


def read(text: str) -> Node:
    try:
        return parse_expression(text).root
    except FilterError as error:
        # A tree is made without Python's own depth in mind, and may be over that of the text.
        assume("limit: " not in error.hint)
        raise


@given(trees("condition") | trees("number"))
def test_a_tree_reads_back_from_its_text(root: Node) -> None:
    made = read(root.text)
    assert made.text == root.text
    assert shape(made) == shape(root)


@given(trees())
def test_every_part_reads_back_from_its_text(root: Node) -> None:
    outputs = {id(node.args[0]) for node in root.walk() if node.op == "output"}
    for node in root.walk():
        # What stands for no kline of another interval is no value by itself.
        alone = reads(node) or not node.interval
        if alone and id(node) not in outputs and node.params != (TIME,):
            assert shape(read(node.text)) == shape(node)


@given(trees())
def test_the_nodes_of_a_tree_are_distinct_and_have_distinct_texts(root: Node) -> None:
    nodes = list(root.walk())
    assert len({node.text for node in nodes}) == len(nodes)


@given(trees(), st.data())
def test_blanks_and_brackets_change_nothing(root: Node, data: st.DataObject) -> None:
    read(root.text)
    # Each name that is a column, and each number that is no argument, in brackets of its own.
    text = re.sub(r"(?<![.\w])(close|open|volume)(?![\w(])", r"( \1\t)", root.text)
    blanks = st.sampled_from(["", " ", "  ", "\t"])
    tokens = [found[found.lastgroup or 0] for found in _TOKEN.finditer(text)]
    words = [
        token + (data.draw(blanks) if i % 7 == 0 else " ") if token.isalnum() else token
        for i, token in enumerate(tokens)
    ]
    spaced = " ".join(words)
    assume(len(spaced) < 4000)
    assert read(spaced).text == root.text


@given(trees())
def test_the_normal_form_is_its_own(root: Node) -> None:
    read(root.text)
    made = compile(root.text)
    again = compile(made.normal)
    assert (again.normal, again.hash, again.bars) == (made.normal, made.hash, made.bars)


@given(trees("condition") | trees("number"))
def test_a_text_is_an_expression_of_python(root: Node) -> None:
    ast.parse(root.text, mode="eval")


SMALL = st.builds(
    Limits,
    text=st.integers(10, 200),
    tokens=st.integers(5, 80),
    depth=st.integers(2, 9),
    nodes=st.integers(3, 40),
    indicators=st.integers(1, 6),
    window=st.integers(20, 200),
    windows=st.integers(20, 500),
    intervals=st.integers(1, 3),
    cost_ns=st.integers(10, 500),
)


@given(st.integers(0, 2**32), SMALL)
def test_a_normal_form_is_within_the_limits_that_its_text_was(seed: int, limits: Limits) -> None:
    fuzzer = Fuzzer(seed)
    for _ in range(20):
        try:
            made = parse_expression(fuzzer.written(), limits=limits)
        except FilterError:
            continue
        assert parse_expression(made.normal, limits=limits) == made
