"""Sizes and budgets: ``profile.yaml`` of a study, one line a parameter, one column a profile."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

PROFILES = ("quick", "medium", "paper")
Sizes = TypeVar("Sizes")


def load_profile(kind: type[Sizes], profile: str, path: Path | None = None) -> Sizes:
    """The numbers of one profile.

    kind: frozen dataclass with a field for each parameter; a field that is a dataclass itself is
        a mapping in the file.
    path: the file; default: ``profile.yaml`` beside the module that defines ``kind``.
    Raises ValueError, naming file and parameter, for a name that is missing or unknown, a line
    without three columns, or a value of another type than the field's.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}, not {profile!r}")
    path = path or Path(inspect.getfile(kind)).with_name("profile.yaml")
    lines = yaml.safe_load(path.read_text(encoding="utf-8"))
    return _from_columns(kind, lines, PROFILES.index(profile), str(path))


def _from_columns(kind: Any, lines: object, column: int, where: str) -> Any:
    hints = get_type_hints(kind)
    lines = _mapping(lines, where)
    _check_names(lines, [field.name for field in fields(kind)], list(hints), where)
    values = {}
    for name, columns in lines.items():
        place = f"{where}: {name}"
        if is_dataclass(hints[name]) and isinstance(columns, dict):
            values[name] = _from_columns(hints[name], columns, column, place)
        elif isinstance(columns, list) and len(columns) == len(PROFILES):
            values[name] = _converted(columns[column], hints[name], place)
        else:
            raise ValueError(f"{place} needs {len(PROFILES)} columns, [{', '.join(PROFILES)}]")
    return kind(**values)


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must hold names with values, not {value!r}")
    return value


def _check_names(
    lines: Mapping[str, object], needed: list[str], known: list[str], where: str
) -> None:
    if unknown := [name for name in lines if name not in known]:
        raise ValueError(f"{where}: no parameter is called {', '.join(unknown)}")
    if missing := [name for name in needed if name not in lines]:
        raise ValueError(f"{where}: {', '.join(missing)} missing")


def _converted(value: object, hint: Any, where: str) -> Any:
    """A value of the file as the type that its field has."""
    if is_dataclass(hint):
        members = get_type_hints(hint)
        given = _mapping(value, where)
        needed = [f.name for f in fields(hint) if not _has_default(f)]
        _check_names(given, needed, list(members), where)
        values = {n: _converted(v, members[n], f"{where}.{n}") for n, v in given.items()}
        return hint(**values)  # type: ignore[operator]  # mypy takes the class for an instance
    if get_origin(hint) is tuple:
        return _tuple(value, get_args(hint), where)
    if hint is float and not isinstance(value, bool):
        try:
            return float(value)  # type: ignore[arg-type]  # YAML takes 1e-3 for text
        except (TypeError, ValueError):
            pass
    elif isinstance(value, hint) and isinstance(value, bool) == (hint is bool):
        return value
    raise ValueError(f"{where} must be {hint.__name__}, not {value!r}")


def _tuple(value: object, members: tuple[Any, ...], where: str) -> tuple:
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list, not {value!r}")
    if members[-1] is Ellipsis:
        members = (members[0],) * len(value)
    if len(value) != len(members):
        raise ValueError(f"{where} must have {len(members)} values, not {len(value)}")
    return tuple(_converted(v, m, where) for v, m in zip(value, members, strict=True))


def _has_default(field: Field) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING
