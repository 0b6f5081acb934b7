"""What rebuilds a run's model: a function of the user's, or of whoever wrote the checkpoint."""

import importlib
import inspect
import struct
import subprocess
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from types import SimpleNamespace
from typing import Any

from sweepd.errors import ExportError, InvalidInput, SweepdError, UnknownName
from sweepd.names import EXPORTERS
from sweepd.registry import Registry

__all__ = ["Hook", "check_hook", "hook_of", "import_hook", "rebuild"]

#: Takes a run's config and the path of its checkpoint; returns (model, held-out inputs).
Hook = Callable[[Mapping[str, Any], Path], Any]
_TOLD = "sweepd: "
_SHAPE = "function(config, checkpoint) -> (model, held-out inputs)"
#: What a function may say that its model's outputs are.
_OUTPUTS = ("classes", "values")
#: What torch raises for a file that is damaged or something else, beside what it says in words.
_LOAD_ERRORS = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)


class _StartsRun(BaseException):
    """A module begins a run while it is imported; no `except Exception` of its own stops this."""


def import_hook(text: str, folder: Path | None = None) -> Hook:
    """Return the function that `module:function` names.

    Args:
        text: the name.
        folder: in which a module is found before the command's, and those that are installed.

    Raises:
        InvalidInput: it cannot be imported, starts a run as it is, or takes other arguments.
    """
    module, _, name = text.partition(":")
    if not module or not name or module.endswith(".py"):
        meant = f"; did you mean {module[:-3]}:{name}?" if module.endswith(".py") else ""
        raise InvalidInput(f"the model must be given as module:function, not {text!r}{meant}")
    homes = list(dict.fromkeys([str(folder or Path.cwd()), str(Path.cwd())]))
    sys.path[:0] = [home for home in homes if home not in sys.path]
    where = " or ".join(homes)
    try:
        with _no_runs():
            hook = getattr(importlib.import_module(module), name)
    except _StartsRun:
        raise InvalidInput(
            f"{text}: {module} starts a run when it is imported; put what trains below "
            'if __name__ == "__main__":'
        ) from None
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f"{text} cannot be imported in {where}: {error}") from error
    except (Exception, SystemExit) as error:
        words = f"{text} cannot be imported in {where}: {_in_words(error)}"
        raise InvalidInput(words) from error
    if not callable(hook):
        raise InvalidInput(f"{text} is not a function")
    _check_arguments(hook, text)
    return _told(hook, text)


def check_hook(text: str, folder: Path) -> None:
    """Look in another process whether `import_hook` would do: a module may change what it likes.

    Args:
        text: the name.
        folder: as for that.

    Raises:
        InvalidInput: as `import_hook`.
    """
    code = f"import sys; from {__name__} import _tell; _tell(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, text, str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return
    said = done.stderr.rstrip().rpartition(_TOLD)
    why = said[2] if said[1] else f"to import it ended Python with exit code {done.returncode}"
    raise InvalidInput(why if said[1] else f"{text}: {why}")


def _tell(text: str, folder: str) -> None:
    """Leave with 1 and say why where `import_hook` refuses."""
    try:
        import_hook(text, Path(folder))
    except InvalidInput as error:
        raise SystemExit(f"{_TOLD}{error}") from error


def _check_arguments(hook: Hook, text: str) -> None:
    try:
        takes = inspect.signature(hook, follow_wrapped=False)
    except (TypeError, ValueError):
        return  # it has none that could be known
    try:
        takes.bind({}, Path())
    except TypeError:
        name = text.partition(":")[2]
        words = f"{text} is {name}{takes}; what rebuilds a model is {_SHAPE}"
        raise InvalidInput(words) from None


def hook_of(checkpoint: Path) -> Hook:
    """Return the hook of whoever wrote the checkpoint; only names in our table count."""
    import torch

    advice = "say how to rebuild its model with --model module:function"
    try:
        with warnings.catch_warnings(action="ignore"):  # of what torch wonders at in such a file
            content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ExportError(
            f"{checkpoint.name} is damaged, or holds more than plain data; if it is sound, {advice}"
        ) from error
    except _LOAD_ERRORS as error:
        raise ExportError(f"{checkpoint.name} is damaged or cut short") from error
    name = content.get("exporter") if isinstance(content, dict) else None
    try:
        return Registry("exporter", EXPORTERS).load(str(name))  # type: ignore[no-any-return]
    except UnknownName:
        raise ExportError(
            f"{checkpoint.name} was not written by the shared trainer; {advice}"
        ) from None


def rebuild(hook: Hook, config: Mapping[str, Any], checkpoint: Path) -> Any:
    """Call the hook; take what our own return, or model, held-out inputs and perhaps labels.

    Raises:
        ExportError: what it returned is neither, or proves no file.
    """
    import torch

    rebuilt = hook(config, checkpoint)
    if isinstance(rebuilt, torch.nn.Module):
        raise ExportError(f"what rebuilds a model is {_SHAPE}; it returned the model alone")
    if isinstance(rebuilt, tuple) and len(rebuilt) in (2, 3):
        model, inputs, labels = (*rebuilt, None)[:3]
        if not (isinstance(model, torch.nn.Module) and isinstance(inputs, _arrays())):
            kinds = ", ".join(type(part).__name__ for part in rebuilt)
            raise ExportError(f"what rebuilds a model is {_SHAPE}; it returned ({kinds})")
        rebuilt = SimpleNamespace(
            model=model.float().cpu().eval(),
            inputs=inputs,
            labels=labels,
            input_name="input",
            output_name="output",
            metadata={},
        )
    wanted = ("model", "inputs", "labels", "input_name", "output_name", "metadata")
    missing = [name for name in wanted if not hasattr(rebuilt, name)]
    if missing:
        raise ExportError(
            f"what rebuilds a model is {_SHAPE}; what it returned lacks {', '.join(missing)}"
        )
    return _checked(
        SimpleNamespace(
            **{name: getattr(rebuilt, name) for name in wanted},
            **{name: getattr(rebuilt, name, None) for name in ("calibration", "outputs")},
        )
    )


def _checked(rebuilt: SimpleNamespace) -> SimpleNamespace:
    """Return it with tensors, or refuse in words what proves no file."""
    inputs = rebuilt.inputs = _tensor("inputs", rebuilt.inputs)
    if inputs.ndim == 0 or len(inputs) < 2:
        n = len(inputs) if inputs.ndim else "a single number"
        raise ExportError(f"the model's function must return two held-out inputs or more, not {n}")
    if rebuilt.labels is not None:
        labels = rebuilt.labels = _tensor("labels", rebuilt.labels)
        n = len(labels) if labels.ndim else 1
        if not labels.ndim or n != len(inputs):
            raise ExportError(
                f"the model's function returned {n:,} labels for {len(inputs):,} held-out inputs: "
                "the first axis of both must be as long"
            )
    if rebuilt.calibration is not None:
        rebuilt.calibration = _tensor("calibration", rebuilt.calibration)
        if not rebuilt.calibration.numel():
            raise ExportError(
                "the model's function returned calibration without an input; leave it out, and "
                "some of the held-out inputs calibrate"
            )
    if rebuilt.outputs not in (None, *_OUTPUTS):
        raise ExportError(
            f"the model's function returned outputs = {rebuilt.outputs!r}; it may say "
            f"{' or '.join(map(repr, _OUTPUTS))}, or nothing"
        )
    return rebuilt


def _tensor(name: str, given: Any) -> Any:
    """Return a tensor or an array as a tensor on the CPU."""
    import torch

    if not isinstance(given, _arrays()):
        raise ExportError(
            f"the model's function returned {name} as a {type(given).__name__}; "
            "what is allowed is a tensor or an array of numpy"
        )
    try:
        return torch.as_tensor(given).cpu()
    except TypeError:
        raise ExportError(
            f"the model's function returned {name} of the type {given.dtype}; they must be numbers"
        ) from None


def _arrays() -> Any:
    import numpy as np
    import torch

    return torch.Tensor, np.ndarray


@contextmanager
def _no_runs() -> Iterator[None]:
    """Refuse to begin a run inside; who has taken `wandb.init` along may do so afterwards."""
    import wandb

    begin, is_inside = wandb.init, True

    def refuse(*args: Any, **options: Any) -> Any:
        if is_inside:
            raise _StartsRun
        return begin(*args, **options)

    wandb.init = refuse
    try:
        yield
    finally:
        is_inside = False
        wandb.init = begin


def _told(hook: Hook, text: str) -> Hook:
    """Return a hook of the user's that tells in words what goes wrong inside."""

    def call(config: Mapping[str, Any], checkpoint: Path) -> Any:
        try:
            return hook(config, checkpoint)
        except SweepdError:
            raise
        except Exception as error:
            raise ExportError(f"{text} failed: {_in_words(error)}") from error

    return call


def _in_words(error: BaseException) -> str:
    """Return what an error of the user's code says, and their line that it came from."""
    words = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        return words  # it says where
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_installed(frame.filename)]
    last = (own or frames)[-1]
    return f"{words} ({last.filename}, line {last.lineno})"


def _is_installed(file: str) -> bool:
    homes = (Path(__file__).parents[1], sysconfig.get_path("stdlib"))
    is_in_one = any(Path(file).is_relative_to(home) for home in homes)
    return is_in_one or file.startswith("<frozen ") or "site-packages" in Path(file).parts
