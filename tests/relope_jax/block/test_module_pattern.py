"""Patterns in adapters: the same answer as PEFT, in bounded time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relope_jax.block.module_pattern import matches
from relope_jax.errors import ReLopeError

MODULE = "model.layers.1.self_attn.q_proj"
ATOMS = st.sampled_from(["a", "b", ".", r"\.", "[ab]", "[^a]", r"\d", r"\w", "1", "^", "$", "[a-b1]"])


def piece(inner):
    repeat = st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,1}", "{,2}", "{2,}", "*?", "+?", "{0}", "{0,3}"])
    group = st.tuples(st.sampled_from(["(", "(?:"]), inner).map(lambda parts: f"{parts[0]}{parts[1]})")
    repeated = st.tuples(st.one_of(group, st.sampled_from(["a", "b", ".", r"\."])), repeat).map("".join)
    return st.one_of(
        st.lists(st.one_of(inner, repeated, group), max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join),
    )


@settings(max_examples=400, deadline=None)
@given(st.recursive(ATOMS, piece, max_leaves=6), st.text("ab.1", max_size=7))
def test_every_pattern_means_what_peft_makes_of_it(pattern, module):
    assert matches(pattern, module) == bool(re.match(rf"(.*\.)?({pattern})$", module))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("q_proj", True),
        (MODULE, True),
        ("self_attn.q_proj", True),
        ("attn.q_proj", False),
        (r".*\.layers\.1\.self_attn\.(q|k)_proj", True),
        (r"layers\.[0-9]+\.self_attn\.[qk]_proj", True),
        ("^model.layers.1.*", True),
        ("^layers.1.*", False),
        (r"(?:model\.)?layers\.(0|1|2)\..*proj$", True),
    ],
)
def test_patterns_that_people_write_for_peft(pattern, found):
    assert matches(pattern, MODULE) == found


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a*)*b", "(a|a)*b", "(.*)*(.*)*(.*)*x", "((a+)+)+b", "(a?){25}a{25}b", r"(\w+\s?)*!"]
)
def test_a_pattern_that_never_ends_in_python_ends(pattern):
    started = time.monotonic()
    assert not matches(pattern, "a" * 200 + ".c")
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a)\1", "(?=a)a", "(?P<n>a)", "(?i)a", "a++", "(a", "a)", "[a", "*a", "a{3,1}", "\\", "a{2}{3}",
        "((((a{1000}){1000}){1000}){1000})", "(" * 900 + "a" + ")" * 900, "a" * 10**6, "a|*", r"\Z", r"\x41", "[z-a]",
    ],
    ids=lambda pattern: pattern[:20],
)  # fmt: skip
def test_other_patterns_are_refused_in_a_line(pattern):
    started = time.monotonic()
    with pytest.raises(ReLopeError, match="cannot be read") as caught:
        matches(pattern, MODULE)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 2
