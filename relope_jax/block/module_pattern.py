r"""Patterns of PEFT configs: untrusted regular expressions, matched in bounded time.

PEFT evaluates `re.match(rf"(.*\.)?({pattern})$", module)`. Python's `re` backtracks, so `(a+)+$` may never end. Usual
PEFT patterns need no backtracking: characters, classes, groups, alternatives and repeats. They are matched here by
simulating an automaton, with the same result. Anything else (back references, lookaround) is refused.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from relope_jax.errors import ReLopeError
from relope_jax.io.inside import shown_name

LONGEST, MOST_STATES, MOST_NESTED = 2000, 20_000, 30
# One character of a pattern: a class in brackets, an escape for one character, or the character itself.
_ATOM = re.compile(r"\[\^?\]?(?:[^\]\\\[]|\\[^\n])*\]|\\[dDwWsSnt]|\\[^A-Za-z0-9]|[^\\\[\](){}|*+?.^$]|\.")
_REPEAT = re.compile(r"(\*|\+|\?|\{\d{1,4}\}|\{\d{1,4},\d{0,4}\}|\{,\d{1,4}\})(\??)")
_OPEN = re.compile(r"\((?:\?:)?(?!\?)")
START, END = "^", "$"


class _Edge(NamedTuple):
    """A transition to a state: with a character that `atom` matches, or (`free`) without one; `atom` may then restrict
    it to the start or the end."""

    atom: str
    to: int
    free: bool


class _Refused(ValueError):
    """An invalid or unsupported pattern."""


def matches(pattern: str, module: str) -> bool:
    """Whether PEFT's pattern matches the module, by PEFT's own rule.

    Raises:
      ReLopeError: the pattern is invalid or unsupported.
    """
    try:
        edges, last = _compiled(pattern)
    except _Refused as error:
        raise ReLopeError(
            f"the pattern {shown_name(pattern)} cannot be read ({error}): use module names with only classes, "
            "groups, alternatives and repeats"
        ) from error
    active: set[int] = set()
    for place in range(len(module) + 1):
        if place == 0 or module[place - 1] == ".":
            active.add(0)
        active = _closure(edges, active, place == 0, place == len(module))
        if place < len(module):
            active = {e.to for state in active for e in edges[state] if not e.free and _fits(e.atom, module[place])}
    return last in active


def _closure(edges: list[list[_Edge]], states: set[int], at_start: bool, at_end: bool) -> set[int]:
    """The states that can be reached without consuming a character."""
    allowed = {"", *((START,) if at_start else ()), *((END,) if at_end else ())}
    found, new = set(states), list(states)
    while new:
        for edge in edges[new.pop()]:
            if edge.free and edge.atom in allowed and edge.to not in found:
                found.add(edge.to)
                new.append(edge.to)
    return found


@functools.lru_cache(maxsize=4096)
def _fits(atom: str, character: str) -> bool:
    return re.fullmatch(atom, character) is not None


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> tuple[list[list[_Edge]], int]:
    """The automaton of a pattern and its last state; its first is 0."""
    if len(pattern) > LONGEST:
        raise _Refused(f"it is longer than {LONGEST} characters")
    parser = _Parser(pattern)
    last = parser.alternatives(0, 0)
    if parser.place < len(pattern):
        raise _Refused(f"at character {parser.place}")
    return parser.edges, last


class _Parser:
    """Reads a pattern from left to right and adds states to the automaton."""

    def __init__(self, pattern: str):
        self.pattern, self.place = pattern, 0
        self.edges: list[list[_Edge]] = [[]]

    def alternatives(self, first: int, nested: int) -> int:
        """Parse `a|b|c` from the state `first`; returns the state after it."""
        if nested > MOST_NESTED:
            raise _Refused(f"it has more than {MOST_NESTED} nested groups")
        last = self._state()
        while True:
            self._free(self._sequence(first, nested), last)
            if not self._next("|"):
                return last
            self.place += 1

    def _sequence(self, first: int, nested: int) -> int:
        """Parse a sequence of pieces."""
        while self.place < len(self.pattern) and not (self._next("|") or self._next(")")):
            begin, start = self.place, self._state()
            if self._next(START) or self._next(END):
                self.place += 1
                self._free(first, start, self.pattern[begin])
                first = start
            else:
                self._free(first, start)
                first = self._repeated(begin, start, self._piece(start, nested), nested)
        return first

    def _piece(self, first: int, nested: int) -> int:
        """Parse a group or one character."""
        if opened := _OPEN.match(self.pattern, self.place):
            self.place = opened.end()
            last = self.alternatives(first, nested + 1)
            if not self._next(")"):
                raise _Refused(f"a group is not closed at character {self.place}")
            self.place += 1
            return last
        atom = _ATOM.match(self.pattern, self.place)
        if not atom:
            raise _Refused(f"at character {self.place}")
        self.place = atom.end()
        try:
            re.compile(atom[0])
        except (re.error, OverflowError) as error:
            raise _Refused(f"at character {atom.start()}") from error
        last = self._state()
        self.edges[first].append(_Edge(atom[0], last, free=False))
        return last

    def _repeated(self, begin: int, first: int, last: int, nested: int) -> int:
        """Repeat the piece from `first` to `last` as its quantifier says."""
        sign = _REPEAT.match(self.pattern, self.place)
        if not sign:
            return last
        after = sign.end()
        least, most = _bounds(sign[1])
        if self.pattern[after : after + 1] in tuple("*+?{") or (most is not None and most < least):
            raise _Refused(f"at character {self.place}")
        begins, ends = [first], [last]  # of each copy of the piece
        for _ in range(1, least if most is None else most):
            self.place = begin
            begins.append(self._state())
            self._free(ends[-1], begins[-1])
            ends.append(self._piece(begins[-1], nested))
        if most is None:
            self._free(ends[-1], begins[-1])  # repeat the last copy any number of times
        self.place, behind = after, self._state()
        for times, state in enumerate([first, *ends]):
            if least <= times and (most is None or times <= most):
                self._free(state, behind)
        return behind

    def _next(self, sign: str) -> bool:
        return self.pattern.startswith(sign, self.place)

    def _state(self) -> int:
        if len(self.edges) >= MOST_STATES:
            raise _Refused("it has too many repeats")
        self.edges.append([])
        return len(self.edges) - 1

    def _free(self, start: int, end: int, condition: str = "") -> None:
        self.edges[start].append(_Edge(condition, end, free=True))


def _bounds(sign: str) -> tuple[int, int | None]:
    """Minimum and maximum number of repeats; None means unbounded."""
    if sign in ("*", "+", "?"):
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
    low, comma, high = sign[1:-1].partition(",")
    if not comma:
        return int(low), int(low)
    return int(low or 0), int(high) if high else None
