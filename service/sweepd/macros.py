"""W&B's command macros: how a definition's `command` becomes the arguments of a process.

Expanded as W&B's own CLI agent does it: a list item that is *entirely* `${macro}` is replaced by
the macro's items, an unknown one by none; `${envvar:NAME}` is replaced anywhere, by NAME itself
where the variable is not set; everything else is passed on as it stands.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sweepd.errors import InvalidInput

__all__ = ["DEFAULT_COMMAND", "ENVVAR", "KNOWN", "expand"]

#: The command of a definition that has none.
DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")

#: `${envvar:NAME}`, in capitals only.
ENVVAR = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")

#: The macros that may stand for a whole item, without their `${}`.
KNOWN = frozenset(
    {
        "env",
        "interpreter",
        "program",
        "args",
        "args_append_hydra",
        "args_dict",
        "args_json",
        "args_json_file",
        "args_no_boolean_flags",
        "args_no_equals",
        "args_no_hyphens",
        "args_override_hydra",
    }
)


def expand(
    command: Sequence[str] | None,
    *,
    program: str | None,
    args: Mapping[str, Any],
    environ: Mapping[str, str],
    json_file: str | None = None,
    on_windows: bool = False,
) -> list[str]:
    """Return the arguments of the process that runs one trial.

    Args:
        command: the definition's; None or empty means `DEFAULT_COMMAND`.
        program: the definition's, for `${program}`.
        args: the trial's nested config, in the order in which flags are wanted.
        environ: where `${envvar:NAME}` looks.
        json_file: for `${args_json_file}`; the caller writes `json.dumps(args)` to it.
        on_windows: whether `${env}` is empty.

    Raises:
        InvalidInput: if `${program}` or `${args_json_file}` is used and there is none.
    """
    macros = _flags(args)
    macros["interpreter"] = ["python"]
    macros["env"] = [] if on_windows else ["/usr/bin/env"]
    arguments: list[str] = []
    for item in command or DEFAULT_COMMAND:
        text = ENVVAR.sub(lambda match: environ.get(match[1], match[1]), str(item))
        if not (text.startswith("${") and text.endswith("}")):
            arguments.append(text)
        elif text == "${program}":
            arguments.append(_given(program, "the command uses ${program}, but there is none"))
        elif text == "${args_json_file}":
            arguments.append(_given(json_file, "the command uses ${args_json_file}: no file given"))
        else:
            arguments.extend(macros.get(text[2:-1], []))
    return arguments


def _flags(args: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what each `args` macro expands to for one trial's config."""
    pairs = [f"{name}={value}" for name, value in args.items()]
    return {
        "args": [f"--{pair}" for pair in pairs],
        "args_no_hyphens": pairs,
        "args_append_hydra": [f"+{pair}" for pair in pairs],
        "args_override_hydra": [f"++{pair}" for pair in pairs],
        "args_no_equals": [x for name, value in args.items() for x in (f"--{name}", str(value))],
        "args_no_boolean_flags": [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in args.items()
            if value is not False
        ],
        "args_json": [json.dumps(dict(args))],
        "args_dict": list(args),
    }


def _given(text: str | None, problem: str) -> str:
    if text is None:
        raise InvalidInput(problem)
    return text
