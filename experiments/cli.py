"""The console script `relope`: `relope run ...` is `python -m experiments.run ...`, likewise for every command."""

from __future__ import annotations

import importlib.util
import sys
import types

from relope_jax.errors import ReLopeError, exit_on_error, nearest

COMMANDS = {  # name: (module that runs as __main__, what it does)
    "run": ("experiments.run", "extract a store if there is none, train, evaluate and write a report"),
    "sweep": ("experiments.sweep", "train a grid of settings"),
    "report": ("experiments.report", "write the report of a finished run again"),
    "calibrate": ("experiments.calibrate", "choose a threshold with a guarantee on new data"),
    "export-peft": ("experiments.export_peft", "write the LoRA of a ReLope router as a PEFT checkpoint"),
    "bench": ("experiments.bench", "run the benchmarks"),
    "extract": ("extract.run", "write a store of hidden states, or one shard of it"),
    "cluster": ("extract.cluster", "write a store on a Ray cluster"),
    "inspect": ("extract.inspect", "show the contents of a store"),
    "verify": ("extract.verify", "check every file of a store, and its frozen blocks"),
    "regrade": ("extract.regrade", "grade the responses in a store with the current graders"),
    "answer": ("extract.answer", "collect answers of a large model, or sampled answers"),
    "embed": ("extract.embed", "write text embeddings of a store's questions and answers"),
}
OURS = {"relope_jax", "extract", "experiments"}


@exit_on_error
def main(argv: list[str]) -> None:
    """Run the command `argv[1]` with the arguments after it.

    Raises:
      ReLopeError: the command is missing or unknown, or a package that it imports is not installed.
    """
    name, arguments = argv[1] if argv[1:] else "", argv[2:]
    if name in ("-h", "--help", "help"):
        print(help_text())
        return
    if not name:
        raise ReLopeError(f"name a command: relope {{{','.join(COMMANDS)}}}; `relope --help` describes them")
    if name not in COMMANDS:
        raise ReLopeError(f"there is no command '{name}'{nearest(name, COMMANDS)}; `relope --help` lists the commands")
    try:
        run_as_main(COMMANDS[name][0], [f"relope {name}", *arguments])
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in OURS:
            raise
        raise ReLopeError(
            f"`relope {name}` needs the Python package {package}, which is not installed; "
            "pip install 'relope-jax[extract]' installs everything for extraction"
        ) from error


def help_text() -> str:
    """The output of `relope --help`: one line per command."""
    lines = [f"  {name:<13}{description}" for name, (_, description) in COMMANDS.items()]
    last = "`relope COMMAND --help` lists the flags of most commands."
    return "\n".join(["usage: relope COMMAND [ARGUMENTS]", "", *lines, "", last])


class _Main(types.ModuleType):
    """The running module. absl's --help prints its docstring, which here names `relope run`, not `python -m ...`."""

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        text = vars(self)["__doc__"] or ""
        for name, (module, _) in COMMANDS.items():
            text = text.replace(f"python -m {module} ", f"relope {name} ")
        return text


def run_as_main(module: str, argv: list[str]) -> None:
    """Run a module, or the `__main__` of a package, like `python -m`, but with this `sys.argv`.

    runpy would overwrite argv[0], which absl prints as the program's name.
    """
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{module}.__main__")
    assert spec is not None, module  # a wrong line in COMMANDS
    main = importlib.util.module_from_spec(spec)
    main.__class__, main.__name__ = _Main, "__main__"
    sys.modules["__main__"], sys.argv = main, argv
    exec(spec.loader.get_code(spec.name), vars(main))  # type: ignore[union-attr]


def script() -> None:
    """Entry point of the console script."""
    main(sys.argv)


if __name__ == "__main__":
    script()
