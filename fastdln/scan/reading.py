"""From the text of a scan file to a `Document`: every check that needs no network.

The Structs of `fastdln.scan.spec` describe one cell. Since any of their fields may hold an axis instead, the
values of each key are held against the field's type one by one, which also tells the message where it is.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import FieldInfo

from fastdln.checks import shown
from fastdln.scan.kinds import Count, Seed, Strict
from fastdln.scan.spec import (
    DEFAULTS,
    DESCENT,
    TABLES,
    Descent,
    Document,
    Flow,
    Range,
    Record,
    SpecError,
    Times,
    Updates,
    Zip,
)
from fastdln.text import plain

__all__ = ["read"]

_DEEP_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){32}""")
_LONGEST = 200  # characters of a value, or of the list of known keys, in a message

DIGITS = 15  # of the values of a range: those that are the same on every machine
_INTEGER_BITS = 128  # more than the entropy of a seed has

_HEAD: dict[str, tuple[Any, Any]] = {"name": (str, "scan"), "trajectories": (Count, None), "seed": (Seed, 0)}


def read(source: str | Mapping[str, Any]) -> Document:
    """Read a scan file.

    Parameters
    ----------
    source : str or mapping
        The text of the file, or what a TOML parser makes of it.

    Returns
    -------
    Document
        What the file says.

    Raises
    ------
    SpecError
        If it is no TOML, a key is unknown or missing, or a value is not what is expected.

    Examples
    --------
    >>> read("trajectories = 0")
    Traceback (most recent call last):
    fastdln.scan.spec.SpecError: trajectories = 0: expected int >= 1
    """
    try:
        return _read(source)
    except RecursionError:
        raise SpecError("the scan file is nested too deeply") from None


def _read(source: str | Mapping[str, Any]) -> Document:
    raw = _parse(source)
    _refuse_unknown(raw, [*_HEAD, *TABLES, "record", "zip"], "at the top")
    head = {key: _convert(raw.get(key, default), type_, key) for key, (type_, default) in _HEAD.items()}
    tables, axes, descends = {}, [], _descends(raw)
    for name, forms in TABLES.items():
        if name == "flow" and descends:
            continue
        tables[name], found = _grid_table(name, _table(raw, name), forms)
        axes.extend(found)
    record = _record(_table(raw, "record"), descends)
    return Document(**head, tables=tables, axes=tuple(axes), record=record, zips=_zips(raw, axes))


def _descends(raw: Mapping[str, Any]) -> bool:
    """Tell a scan of descents from one of flows, and refuse tables that belong to the other."""
    kind = _table(raw, "updates").get("kind")
    if isinstance(kind, list | tuple):
        raise SpecError(f"updates.kind = {_show(kind)}: a scan is one of flows or one of descents; this is no axis")
    if kind != DESCENT:
        if "schedule" in raw:
            raise SpecError(f'[schedule] is one of learning rates: it needs updates.kind = "{DESCENT}"')
        return False
    if "flow" in raw:
        both = [key for key in _fields((Flow,)) if key in _fields((Descent,))]
        others = [key for key in _fields((Flow,)) if key not in both]
        raise SpecError(
            f'[flow] does not go with updates.kind = "{DESCENT}": {", ".join(others)} are of flows alone (a descent '
            f"ends after updates.steps), and {', '.join(both)} are keys of [updates]"
        )
    return True


def _parse(source: str | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(source, str):
        return source
    if _DEEP_KEY.search(source):  # Python's parser needs minutes for a key of some ten thousand parts
        raise SpecError("the scan file is not valid: a key has more parts than any that is known")
    try:
        return tomllib.loads(source)
    except ValueError as error:  # TOMLDecodeError, and what Python says of integers that are too long
        raise SpecError(f"the scan file is not valid TOML: {error}") from None


def _table(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = raw.get(name, DEFAULTS.get(name))
    if table is None:
        raise SpecError(f"[{name}] is missing: a scan file has the tables {', '.join(TABLES)} and record")
    if not isinstance(table, Mapping):
        raise SpecError(f"{name} = {_show(table)}: expected a table, [{name}]")
    return table


def _grid_table(
    name: str, table: Mapping[str, Any], forms: tuple[type[Strict], ...]
) -> tuple[dict[str, Any], list[str]]:
    """Read one table whose keys may be axes; return its values, and the axes among them."""
    values: dict[str, Any] = {}
    chosen, where = forms, f"in [{name}]"
    if len(forms) > 1:
        values["kind"], chosen, where = _kind(name, table, forms)
    fields = _fields(chosen)
    _refuse_unknown(table, [*values, *fields], where, prefix=f"{name}.")
    for key, field in fields.items():
        if key in table:
            values[key] = _value_or_axis(table[key], field.type, f"{name}.{key}")
        elif field.required:
            raise SpecError(f"{name}.{key} is missing: {where} it is required")
        else:
            values[key] = msgspec.to_builtins(field.default)
    return values, [f"{name}.{key}" for key, value in values.items() if isinstance(value, list)]


def _kind(
    name: str, table: Mapping[str, Any], forms: tuple[type[Strict], ...]
) -> tuple[Any, tuple[type[Strict], ...], str]:
    """Read the key that tells the form of a table; return it, the forms it chooses, and their description."""
    by_kind = {form.__struct_config__.tag: form for form in forms}
    if "kind" not in table:
        raise SpecError(f"{name}.kind is missing: expected one of {', '.join(map(str, by_kind))}")
    literal = typing.Literal[tuple(by_kind)]  # type: ignore[valid-type]
    kind = _value_or_axis(table["kind"], literal, f"{name}.kind")
    kinds = kind if isinstance(kind, list) else [kind]
    return kind, tuple(by_kind[k] for k in kinds), f"in [{name}] of kind {' or '.join(kinds)}"


def _fields(forms: tuple[type[Strict], ...]) -> dict[str, FieldInfo]:
    """Return the keys of several forms of a table; one that two of them share means the same in both."""
    return {field.name: field for form in forms for field in msgspec.structs.fields(form)}


def _record(table: Mapping[str, Any], descends: bool) -> Record:
    fields = _fields((Record,))
    _refuse_unknown(table, fields, "in [record]", prefix="record.")
    times = table.get("times")
    if times is None:
        raise SpecError(f"record.times is missing: expected {'{every, from}' if descends else _TIMES}")
    converted = _updates_recorded(times) if descends else _times_recorded(times)
    given = table.get("observables", fields["observables"].default)
    observables = _convert(given, fields["observables"].type, "record.observables")
    if not observables or len(set(observables)) < len(observables):
        raise SpecError(f"record.observables = {_show(given)}: expected at least one, and each once")
    if descends and "itinerary" in observables:
        raise SpecError("record.observables: the itinerary is one of flows, not of descents")
    return Record(times=converted, observables=observables)


_TIMES = "a count, or {count, spacing, first}"


def _times_recorded(times: Any) -> Times:
    if not isinstance(times, Mapping):
        return Times(count=_convert(times, Count, "record.times"))
    converted: Times = _parts(times, Times)
    if converted.spacing == "log" and converted.first == 0:
        raise SpecError('record.times.first = 0: expected a time > 0 with spacing = "log"')
    return converted


def _updates_recorded(times: Any) -> Updates:
    if not isinstance(times, Mapping):
        raise SpecError(f"record.times = {_show(times)}: a descent is recorded at updates, {{every = 10, from = 0}}")
    converted: Updates = _parts(times, Updates)
    return converted


def _parts(times: Mapping[str, Any], type_: type[Strict]) -> Any:
    keys = {field.encode_name: field for field in msgspec.structs.fields(type_)}
    _refuse_unknown(times, keys, "in record.times", prefix="record.times.")
    for key in keys.keys() & times.keys():
        _convert(times[key], keys[key].type, f"record.times.{key}")
    return _convert(times, type_, "record.times")


def _zips(raw: Mapping[str, Any], axes: list[str]) -> tuple[Zip, ...]:
    tables = raw.get("zip", [])
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise SpecError(f"zip = {_show(tables)}: expected tables, [[zip]]")
    zips = []
    taken: set[str] = set()
    for table in tables:
        _refuse_unknown(table, ["axes"], "in [[zip]]", prefix="zip.")
        tied = _convert(table, Zip, "zip")
        for axis in tied.axes:
            if axis not in axes:
                raise SpecError(f"zip.axes: {_unknown(axis, axes, 'axes of this grid are')}")
            if axis in taken:
                raise SpecError(f"zip.axes: {axis} stands twice; an axis can be tied to others once")
            taken.add(axis)
        zips.append(tied)
    return tuple(zips)


def _value_or_axis(value: Any, type_: Any, where: str) -> Any:
    """Convert one value, or every value of an axis into a list; values are tuples where they have parts."""
    if isinstance(value, Mapping):
        value = _range(value, type_, where)
    if not _is_axis(value, type_):
        return msgspec.to_builtins(_convert(value, type_, where))
    if not value:
        raise SpecError(f"{where} = []: an axis needs at least one value")
    values = [msgspec.to_builtins(_convert(v, type_, f"{where}[{i}]")) for i, v in enumerate(value)]
    seen = set()
    for item in values:
        if item in seen:
            raise SpecError(f"{where} holds {_show(item)} twice; the values of an axis must differ")
        seen.add(item)
    return values


def _range(table: Mapping[str, Any], type_: Any, where: str) -> list[float | int]:
    """The values of a range."""
    keys = _fields((Range,))
    _refuse_unknown(table, keys, f"in the range {where}", prefix=f"{where}.")
    for key in keys.keys() & table.keys():
        _convert(table[key], keys[key].type, f"{where}.{key}")
    given = _convert(dict(table), Range, where)
    log = given.spacing == "log"
    if given.start == given.stop or (log and min(given.start, given.stop) <= 0):
        expected = "two different numbers > 0" if log else "two different numbers"
        raise SpecError(f"{where}.start = {given.start}, stop = {given.stop}: expected {expected}")
    integers = all(type(_convert(x, type_, where)) is int for x in (given.start, given.stop))
    start, stop = float(given.start), float(given.stop)
    parts = [i / (given.count - 1) for i in range(1, given.count - 1)]
    between = [start * (stop / start) ** part if log else start + (stop - start) * part for part in parts]
    if integers:
        return [given.start, *map(round, between), given.stop]
    return [start, *(float(f"{x:.{DIGITS}g}") for x in between), stop]


def _is_axis(value: Any, type_: Any) -> bool:
    if not isinstance(value, list | tuple):
        return False
    return not _takes_lists(type_) or any(isinstance(item, list | tuple) for item in value)


def _takes_lists(type_: Any) -> bool:
    origin = typing.get_origin(type_)
    if origin is typing.Annotated or origin in (typing.Union, types.UnionType):
        return any(_takes_lists(argument) for argument in typing.get_args(type_))
    return origin is tuple


def _convert(value: Any, type_: Any, where: str) -> Any:
    """Convert one value strictly, or say where it stands, what was given and what is expected."""
    for number in _numbers(value):
        if isinstance(number, int):
            if number.bit_length() > _INTEGER_BITS:
                raise SpecError(f"{where} = {_show(value)}: expected integers below 2^{_INTEGER_BITS}")
        elif not math.isfinite(number):
            raise SpecError(f"{where} = {_show(value)}: expected finite numbers")
    if value is None:
        raise SpecError(f"{where} is missing")
    choices = list(_choices(type_))
    try:
        return msgspec.convert(value, type_, strict=True)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        place = place.rstrip("`")
        for index, key in re.findall(r"\[(\d+)\]|\.(\w+)", place):
            value = value[key or int(index)]
        if isinstance(value, str) and choices and value not in choices:
            raise SpecError(f"{where}{place}: {_unknown(value, choices, 'expected one of')}") from None
        reason = re.sub("`(.*?)`", r"\1", reason[0].lower() + reason[1:])
        raise SpecError(f"{where}{place} = {_show(value)}: {reason}") from None


def _numbers(value: Any) -> Iterator[float | int]:
    if isinstance(value, float | int):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)


def _choices(type_: Any) -> Iterator[str]:
    if typing.get_origin(type_) is typing.Literal:
        yield from typing.get_args(type_)
    else:
        for argument in typing.get_args(type_):
            yield from _choices(argument)


def _refuse_unknown(table: Mapping[str, Any], known: Collection[str], where: str, prefix: str = "") -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else "."
            raise SpecError(f"{prefix}{plain(str(key))}: unknown key{hint} Known {where}: {', '.join(known)}")


def _unknown(given: str, known: Collection[str], expected: str) -> str:
    near = difflib.get_close_matches(given, known, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ";"
    return f'unknown "{plain(given)}"{hint} {expected} {", ".join(known) or "none"}'


def _show(value: Any) -> str:
    text = shown(value) if type(value) is int else json.dumps(value, default=shown, ensure_ascii=False)
    return plain(text, _LONGEST)
