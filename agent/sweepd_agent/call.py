"""Calls a definition's `module:function`: `python -m sweepd_agent.call MODULE:FUNCTION …`."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["call_function", "main"]


def call_function(program: str, config: Callable[[], Mapping[str, Any]]) -> None:
    """Call `module:function`, with the trial's nested configuration if it takes an argument."""
    module, _, name = program.partition(":")
    function: Any = importlib.import_module(module)
    for part in name.split("."):
        function = getattr(function, part)
    needed = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
    ]
    if needed:
        function(dict(config()))
    else:
        function()


def main() -> None:
    """Call the function that the first argument names, as a warm parent's child would."""
    program, *rest = sys.argv[1:]
    sys.argv = [program, *rest]
    call_function(program, _read_config)


def _read_config() -> dict[str, Any]:
    import yaml

    values = yaml.safe_load(Path(os.environ["WANDB_SWEEP_PARAM_PATH"]).read_text(encoding="utf-8"))
    return {key: row["value"] for key, row in values.items() if key != "wandb_version"}


if __name__ == "__main__":
    main()
