"""Sizes and budgets: ``profile.yaml`` of a study, one line a parameter, one column a profile."""

import inspect
from contextlib import suppress
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

PROFILES = ("quick", "medium", "paper")
Sizes = TypeVar("Sizes")


def load_profile(kind: type[Sizes], profile: str, path: Path | None = None) -> Sizes:
    """The numbers of one profile as a dataclass; a field that is one may be a mapping of lines.

    path: the file; default: ``profile.yaml`` beside the module that defines ``kind``. Raises
    ValueError, naming file and parameter, where the two do not fit.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}, not {profile!r}")
    path = path or Path(inspect.getfile(kind)).with_name("profile.yaml")
    lines = yaml.safe_load(path.read_text(encoding="utf-8"))
    return _converted(_column(lines, PROFILES.index(profile), str(path)), kind, str(path))


def _column(lines: object, column: int, where: str) -> Any:
    """The values of one profile, in mappings as the lines are."""
    if isinstance(lines, dict):
        return {name: _column(line, column, f"{where}: {name}") for name, line in lines.items()}
    if isinstance(lines, list) and len(lines) == len(PROFILES):
        return lines[column]
    raise ValueError(f"{where} needs {len(PROFILES)} columns, [{', '.join(PROFILES)}]")


def _converted(value: Any, hint: Any, where: str) -> Any:
    """A value of the file as the type that its field has."""
    if is_dataclass(hint):
        return _filled(value, hint, where)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list, not {value!r}")
        kinds = get_args(hint)
        kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        if len(value) != len(kinds):
            raise ValueError(f"{where} must have {len(kinds)} values, not {len(value)}")
        return tuple(_converted(v, kind, where) for v, kind in zip(value, kinds, strict=True))
    if hint is float and type(value) in (int, str):
        with suppress(ValueError):
            value = float(value)  # YAML takes 1e-3 for text
    if type(value) is not hint:
        raise ValueError(f"{where} must be {hint.__name__}, not {value!r}")
    return value


def _filled(values: Any, kind: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"{where} must hold names with values, not {values!r}")
    hints = get_type_hints(kind)
    if unknown := [name for name in values if name not in hints]:
        raise ValueError(f"{where}: no parameter is called {', '.join(unknown)}")
    try:
        return kind(**{n: _converted(v, hints[n], f"{where}: {n}") for n, v in values.items()})
    except TypeError as error:  # it names what is missing
        raise ValueError(f"{where}: {error}") from None
