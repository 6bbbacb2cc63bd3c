"""Whether what is named in words is there."""

from __future__ import annotations

import importlib
import inspect


def exists(name: str) -> bool:
    """Whether a dotted name is that of a module, or of something in one."""
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        try:
            item = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError:
            continue
        for part in parts[k:]:
            if inspect.isclass(item) and part in inspect.get_annotations(item):  # a field
                return part == parts[-1]
            if not hasattr(item, part):
                return False
            item = getattr(item, part)
        return True
    return False
