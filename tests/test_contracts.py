"""The library's annotations are checked while tests run."""

from __future__ import annotations

import ast
import builtins
import importlib
import typing
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from relope_jax.baselines.sw_ranking import battle_outcomes
from relope_jax.block.absorbed import attention_weights
from relope_jax.block.lora import adapted
from relope_jax.data import vector_states
from relope_jax.metrics.auc import auc
from relope_jax.models.probes import dropout
from relope_jax.run import Router
from relope_jax.states.ragged import TokenStates
from relope_jax.training.feeds.buckets import sorted_batches
from relope_jax.training.losses import binary_cross_entropy
from tests import ROOT, contracts
from tests.builders import make_spec
from tests.house import modules, room


def states_of(offsets: list[int], last_hidden: tuple[int, int]) -> TokenStates:
    """Five tokens of width 4."""
    hidden, positions = np.zeros((5, 4), np.float32), np.zeros((5, 1), np.int32)
    return TokenStates(hidden, positions, np.array(offsets), np.zeros(last_hidden, np.float32))


# Of every room that has arrays: calls with a shape that broadcasts, or is cut, to something else without an error.
WRONG: dict[str, list[Callable[[], object]]] = {
    "block": [
        lambda: attention_weights(make_spec(), jnp.ones((2, 2, 2, 3)), jnp.ones((2, 1), bool)),
        lambda: adapted(jnp.ones((2, 4)), np.ones((3, 4)), np.ones(1), None),
    ],
    "states": [lambda: states_of([0, 2, 5], (3, 4)), lambda: states_of([0, 2, 5], (2, 3))],
    "models": [lambda: dropout(jnp.ones((2, 4)), jnp.ones((2, 1)), jax.random.key(0))],
    "metrics": [lambda: auc(np.zeros((2, 4)), np.zeros((4, 1), int))],
    "baselines": [lambda: battle_outcomes(np.zeros(3, int), np.zeros(1, int))],
    "training": [
        lambda: binary_cross_entropy(jnp.zeros(3), jnp.zeros(1)),
        lambda: sorted_batches(np.arange(4).reshape(1, 4), np.ones(4, int), 2),
    ],
    "data": [lambda: vector_states(np.zeros((2, 3, 4)))],
    "run": [lambda: Router.__call__(object(), np.zeros(3))],
}


@pytest.mark.parametrize(("name", "i"), [(name, i) for name, calls in WRONG.items() for i in range(len(calls))])
def test_a_wrong_shape_is_refused_in_every_room(name, i):
    with pytest.raises(contracts.Broken, match=rf"(?s)relope_jax\.{name}\b.* violates type hint"):
        WRONG[name][i]()


def test_every_room_with_arrays_is_among_these():
    assert WRONG.keys() == {room(name) for name in contracts.covered() if list(array_annotations(name))}


def test_all_modules_are_checked_but_the_excluded_ones():
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "relope_jax").rglob("*.py")}
    excluded = {name for name in files if any(f"{name}.".startswith(f"{other}.") for other in contracts.EXCLUDED)}
    packages = {name for name in files if name.endswith(".__init__")}
    assert set(contracts.covered()) == files - excluded - packages
    for name in contracts.covered():
        assert type(importlib.import_module(name).__loader__).__module__ == "jaxtyping._import_hook", name


def test_what_is_not_checked_has_no_arrays_with_axes():
    left = {name for name in modules() if name.split(".")[0] == "relope_jax"} - set(contracts.covered())
    assert not [name for name in left if list(array_annotations(name))]


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        (np.zeros((2, 4)), np.zeros(5, int)),  # n is 4, then 5
        (np.zeros(4), np.zeros(4, int)),  # an axis is missing
        (np.zeros((2, 4)), np.zeros(4)),  # labels are integers
        ([[0.0, 1.0]], np.array([0, 1])),  # not an array
    ],
)
def test_a_wrong_array_fails_at_the_call(scores, labels):
    with pytest.raises(contracts.Broken, match=r"relope_jax\.metrics\.auc\.auc"):
        auc(scores, labels)


def test_a_result_is_checked():
    """`fan_out` is 3 for the weight. An adapter whose product broadcasts to it would otherwise pass unnoticed."""
    x, weight = jnp.ones((2, 4)), jnp.ones((3, 4))
    adapter = jnp.ones((1, 4)), jnp.ones((1, 1))
    with pytest.raises(contracts.Broken, match=r"relope_jax\.block\.lora\.adapted"):
        adapted(x, weight, None, adapter)


def test_no_handler_of_errors_hides_a_broken_contract():
    def read() -> None:
        try:
            auc([[0.0, 1.0]], np.array([0, 1]))
        except Exception as error:
            raise ValueError("the file is damaged") from error

    with pytest.raises(contracts.Broken):
        read()


def test_checks_can_be_ignored():
    with contracts.ignored():
        assert auc([[0.0, 1.0]], np.array([0, 1])) == 1.0
    with pytest.raises(contracts.Broken):
        auc([[0.0, 1.0]], np.array([0, 1]))


def test_no_annotation_of_an_array_is_lost():
    """One that names what is defined further down would not be checked: nothing has that name yet."""
    assert names_of("list[Piece]") - {"list"} == {"Piece"}
    lost = [
        f"{name}: {source}"
        for name in contracts.covered()
        for source, known in array_annotations(name)
        if not names_of(source) <= known
    ]
    assert not lost


def names_of(source: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}


def holds_array(hint: object) -> bool:
    """Whether an annotation holds an array with a dtype and axes."""
    if isinstance(hint, list):  # of a callable's arguments
        return any(map(holds_array, hint))
    own = isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray)
    return own or any(map(holds_array, typing.get_args(hint)))


def array_annotations(module: str) -> Iterator[tuple[str, set[str]]]:
    """The annotations of a module that hold an array, each with the names that are known where it stands."""
    namespace, known = vars(importlib.import_module(module)), set(dir(builtins))
    for statement in ast.parse(modules()[module].read_text(encoding="utf-8")).body:
        for node in ast.walk(statement):
            annotation = node.returns if isinstance(node, ast.FunctionDef) else getattr(node, "annotation", None)
            if annotation is not None and holds_array(eval(ast.unparse(annotation), namespace)):
                yield ast.unparse(annotation), set(known)
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            known.add(statement.name)
            continue
        known |= {alias.asname or alias.name for alias in getattr(statement, "names", [])}
        known |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
