"""Which modules a program imports, read from its text: what a warm parent imports ahead of it.

Only installed packages are imported ahead. The user's own files are read, never run: they may
change while the agent lives, and may do anything when imported.
"""

import ast
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

__all__ = ["ImportNotes", "is_installed", "list_imports"]

#: What `wandb.init` imports when it is called: a third of a second for every trial otherwise.
_WANDB = ("wandb", "wandb.apis.public", "wandb.sdk.launch")
_MAX_FILES = 500


def list_imports(program: Path, roots: Sequence[Path]) -> list[str]:
    """Return the installed modules that `program` and the files it imports name, in their order.

    Args:
        program: the script, or the file of the module that holds the function.
        roots: folders whose modules are the user's own, as the program would find them.
    """
    names = list(dict.fromkeys(_walk(program, roots, seen=set())))
    if any(name.partition(".")[0] not in sys.stdlib_module_names for name in names):
        names = [*_WANDB, *(name for name in names if name not in _WANDB)]
    return names


def is_installed(origin: str | None) -> bool:
    """Return whether a module's file belongs to Python or to an installed package."""
    return origin is None or origin in {"built-in", "frozen"} or origin.startswith(_folders())


class ImportNotes:
    """Stands in `sys.meta_path` and notes what is imported, in the order in which it begins.

    Repeated in that order, every import finds what it found the first time: packages whose modules
    import each other in a circle can be entered at one place only.
    """

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Note a name, and leave finding it to the others."""
        self.names.append(name)

    def installed(self) -> list[str]:
        """Return the modules that were noted, loaded and are installed ones."""
        loaded = [(name, sys.modules.get(name)) for name in dict.fromkeys(self.names)]
        return [
            name
            for name, module in loaded
            if getattr(module, "__spec__", None) is not None
            and is_installed(getattr(module, "__file__", None))
        ]


@cache
def _folders() -> tuple[str, ...]:
    """Return the folders of installed modules, as they are written and as they really are."""
    paths = sysconfig.get_paths()
    folders = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders.update(site.getsitepackages())
    folders.add(site.getusersitepackages())
    folders.update([os.path.realpath(folder) for folder in folders])
    return tuple(folder.rstrip(os.sep) + os.sep for folder in folders)


def _walk(path: Path, roots: Sequence[Path], seen: set[Path]) -> Iterator[str]:
    """Yield the installed modules that a file imports, following the user's own modules."""
    if path in seen or len(seen) >= _MAX_FILES:
        return
    seen.add(path)
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    for base, name, members in _imports_of(tree, path):
        own = _find_own(name, [base] if base else roots)
        if own is None:
            if base is None and _can_be_found(name):
                yield name
            continue
        for member in members:
            own += (
                _find_own(".".join(filter(None, (name, member))), [base] if base else roots) or []
            )
        for file in own:
            yield from _walk(file, roots, seen)


def _imports_of(tree: ast.Module, path: Path) -> Iterator[tuple[Path | None, str, list[str]]]:
    """Yield what is imported when a file is: folder of a relative import, module, names taken."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.Import):
            yield from ((None, alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            members = [alias.name for alias in node.names]
            if node.level == 0:
                yield None, node.module or "", members
            elif node.level <= len(path.parents):
                yield path.parents[node.level - 1], node.module or "", members
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inner = [getattr(node, field, []) for field in ("body", "orelse", "finalbody")]
            handlers = [handler.body for handler in getattr(node, "handlers", [])]
            pending[:0] = [statement for block in (*inner, *handlers) for statement in block]


def _find_own(name: str, roots: Sequence[Path]) -> list[Path] | None:
    """Return the user's files behind a module's name; None if the module is not the user's own."""
    top, *more = name.split(".")
    if not top:
        return []
    for root in roots:
        if (root / top / "__init__.py").is_file() or (root / f"{top}.py").is_file():
            return _files(root, [top, *more])
    spec = _find_spec(top)
    if spec is None:  # a folder without __init__.py is a package where there is no other
        return next((_files(r, [top, *more]) for r in roots if (r / top).is_dir()), None)
    if not spec.origin or is_installed(spec.origin):
        return None
    origin = Path(spec.origin)
    is_package = origin.name == "__init__.py"
    return _files(origin.parent.parent if is_package else origin.parent, [top, *more])


def _files(root: Path, parts: Sequence[str]) -> list[Path]:
    """Return the files that importing `parts` below `root` runs: each package, then the module."""
    found, folder = [], root
    for part in parts:
        for file in (folder / part / "__init__.py", folder / f"{part}.py"):
            if file.is_file():
                found.append(file)
                break
        folder = folder / part
    return found


def _can_be_found(name: str) -> bool:
    top = name.partition(".")[0]
    return top in sys.modules or _find_spec(top) is not None


def _find_spec(top: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
