"""The memory of one thread of the integration loop: where everything lies, and the workspace that says so."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.lockstep.certificate import certificate
from fastdln.engines.lockstep.hidden import attempts_between
from fastdln.engines.lockstep.mapped import called_bytes
from fastdln.engines.lockstep.methods import MethodLayout
from fastdln.engines.lockstep.recipe import Plan, Recipe, parameters, straight_code
from fastdln.kernels.lockstep import control, learning, padding, records
from fastdln.kernels.lockstep import workspace as told
from fastdln.kernels.lockstep.vectors import library
from fastdln.kernels.machine.compile import address_of, routine
from fastdln.kernels.products import update

PAGE = 4096
# States follow each other at a distance of 448 bytes modulo a page: at a multiple of the page all the vectors of a
# stage combination fall into the same few sets of the first-level cache.
STAGGER = 448

COMMON = ("state", "next", "stage", "output")  # states that every method has


class Arena:
    """One thread's memory: states, slopes, scratch, control, and the workspace with their addresses.

    The arrays are kept: the kernels hold addresses only, and an array must live as long as its address does.

    Parameters
    ----------
    recipe : Recipe
        What all threads share.
    problem : Problem
        That of the recipe with the method of this loop.
    layout : MethodLayout
        The method.
    """

    def __init__(self, recipe: Recipe, problem: Problem, layout: MethodLayout) -> None:
        plan, lanes = recipe.plan, recipe.plan.executor.lanes
        self._kept: dict[str, list[NDArray[Any]]] = {}
        self._lanes = lanes
        sizes = blocks(plan, layout)
        count = sum(sizes.values()) * lanes
        self._memory = np.zeros(count + PAGE // plan.dtype.itemsize, plan.dtype)
        first = (-self._memory.ctypes.data % PAGE) // plan.dtype.itemsize
        self.arena = self._memory[first : first + count]
        self._places, at = {}, self.arena.ctypes.data
        for name, entries in sizes.items():
            self._places[name] = at
            at += entries * plan.entry
        for name, dense in (("dense", layout.dense), ("other_dense", layout.other_dense)):
            self.block(name, dense.size)[:] = dense.reshape(-1, 1)
        self.block("tolerance", 1)[:] = problem.options.rtol
        if "general" in layout.states:
            self._fill_general(recipe)

        self.ctl = np.zeros((layout.control_rows, lanes))
        self.ctl[control.NEXT_OUTPUT] = np.inf
        self.workspace = np.zeros(1, told.WORKSPACE)
        numbers, second_cap = parameters(problem)
        kernels = library(plan.dtype, lanes)
        for name, value in (numbers | kernels).items():
            self.workspace[name] = value
        self._tell_shape(plan, layout)
        self._tell_memory(recipe, problem, layout, second_cap)
        self._tell_routines(recipe, problem, layout)

    def tell(self, group: str, values: Mapping[str, Any]) -> None:
        """Write a group of the workspace; of an array its address, and it is kept until the group is written anew."""
        self._kept[group] = [value for value in values.values() if isinstance(value, np.ndarray)]
        told.write(self.workspace, group, {field: _address(value) for field, value in values.items()})

    def _tell_shape(self, plan: Plan, layout: MethodLayout) -> None:
        lanes, network = plan.executor.lanes, plan.problem.network
        gaps = _gaps(plan) if debugging() else np.zeros(0, np.int64)
        states = (*COMMON, *(f"slope{s}" for s in range(layout.slopes)), *layout.states)
        self.tell(
            "shape",
            {
                "workspace": self.workspace.ctypes.data,
                "arena": self.arena,
                "ctl": self.ctl,
                "control_rows": len(self.ctl),
                "trajectory": np.full(lanes, -1, np.int64),
                "next_record": np.zeros(lanes, np.int64),
                "lanes": lanes,
                "item": plan.dtype.itemsize,
                "entry": plan.entry,
                "entries": plan.entries,
                "layered": plan.layered,
                "way": plan.way,
                "layers": network.depth,
                "modes": plan.problem.watched,
                "parameters": network.n_parameters,
                "padded": np.array([self._places[name] for name in states], np.int64),
                "n_padded": len(states),
                "gaps": gaps,
                "n_gaps": len(gaps),
            },
        )

    def _tell_memory(self, recipe: Recipe, problem: Problem, layout: MethodLayout, second_cap: float) -> None:
        plan, places = recipe.plan, self._places
        slopes = np.array([places[f"slope{s}"] for s in range(layout.slopes)], np.int64)
        mix = np.zeros(layout.mixed, np.int64)
        shapes, modes = plan.problem.network.shapes, plan.problem.watched
        self.tell("at", {name: places[name] for name in told.AT.names})
        self.tell("layer", recipe.layer)
        self._called = recipe.scripted.called() if recipe.scripted else np.zeros(0, np.int64)
        common = [places["buffer"], *[0] * 4, _address(self._called)]
        bases, corrected = (np.array([0, 0, places["scratch"], *common], np.int64) for _ in range(2))
        self.tell("products", recipe.products | {"bases": bases, "correction_bases": corrected})
        self.tell(
            "growth",
            recipe.growth | {"norms": _norms(plan, places["scratch"]), "every": attempts_between(problem, plan.hidden)},
        )
        self.tell("records", recipe.records)
        self.tell("limits", recipe.limits)
        lanes = plan.executor.lanes
        self.tell(
            "descent",
            recipe.descent.fields
            | {
                "bases": np.array([0, 0, places["sampled" if plan.batches else "scratch"], *common], np.int64),
                "orders": np.zeros((lanes, recipe.descent.fields["all_samples"]), np.int64),
                "scratch": places["sampled"],
            },
        )
        self.tell(
            "method",
            layout.method
            | {
                "slopes": slopes,
                "scale": np.zeros(3, np.int64),
                "defect": np.zeros(3, np.int64),
                "shown": min(range(len(shapes)), key=lambda i: math.prod(shapes[i])),
            },
        )
        table = (mix if layout.mixed else slopes).ctypes.data + 8 * layout.terms_first
        self.tell("output", layout.output | {"table": table})
        self.tell("chebyshev", layout.chebyshev | {"mix": mix, "second_growth_cap": second_cap})
        self.tell(
            "learning",
            {
                "ends": np.array([places[f"ends{i}"] for i in range(learning.KNOWN)], np.int64),
                "wanted": np.zeros((plan.executor.lanes, 1 + modes), np.int64),
                "tables": np.zeros((plan.executor.lanes, learning.TABLE)),
                "passes": 0,
                "timing": recipe.timing,
            },
        )
        self.tell("told", dict.fromkeys(told.TOLD.names, 0))

    def _tell_routines(self, recipe: Recipe, problem: Problem, layout: MethodLayout) -> None:
        dtype = recipe.plan.dtype
        execute = int(self.workspace["execute"][0])
        none = ("begin", "open", "weigh", "within", "stages", "all_stages", "search", "certify", "certificate")
        addresses = dict.fromkeys(none, 0)
        addresses |= dict.fromkeys(("execute_rhs", "execute_observe", "execute_growth"), execute)
        addresses["value"] = int(self.workspace["square_distance"][0])
        addresses["execute_update"] = recipe.descent.execute
        addresses["execute_correction"] = recipe.corrected.execute
        if recipe.scripted:
            addresses |= recipe.scripted.routines()
        self._code = straight_code(recipe.plan, layout, recipe.descent.straight)
        if self._code:
            addresses |= self._code.addresses
        addresses |= {name: routine(function, dtype) for name, function in layout.routines.items()}
        addresses["record"] = routine(records.record, dtype)
        addresses["padding"] = routine(padding.check, dtype) if debugging() else 0
        if problem.learning:
            addresses["search"] = address_of(layout.search, learning.SEARCH_ARGUMENTS)
        self._certificate = certificate(recipe.plan, problem)
        if self._certificate:
            addresses["certify"] = self._certificate.routine
            addresses["certificate"] = self._certificate.task.ctypes.data
        self.tell("routines", addresses)

    def block(self, name: str, entries: int) -> NDArray[Any]:
        """The first entries of a block, (entries, lanes)."""
        first = (self._places[name] - self.arena.ctypes.data) // self.arena.itemsize
        return self.arena[first : first + entries * self._lanes].reshape(entries, self._lanes)

    def _fill_general(self, recipe: Recipe) -> None:
        """A vector that no symmetry of a start contains, zero in the padding: the same for every trajectory."""
        plan, rng = recipe.plan, np.random.default_rng(0)
        state = self.block("general", plan.entries)
        for offset, (rows, columns) in zip(plan.program.layers, plan.problem.network.shapes, strict=False):
            state[offset : offset + rows * columns] = rng.standard_normal((rows * columns, 1))


def _address(value: Any) -> Any:
    """The address of an array; numbers are as they are."""
    return value.__array_interface__["data"][0] if isinstance(value, np.ndarray) else value


def _gaps(plan: Plan) -> NDArray[np.int64]:
    """The entries of a state that belong to no layer."""
    within = np.zeros(plan.entries, bool)
    for first, (rows, columns) in zip(plan.program.layers, plan.problem.network.shapes, strict=False):
        within[first : first + rows * columns] = True
    if plan.way >= 0:
        within[plan.way : plan.way + 2] = True
    return np.flatnonzero(~within)


def debugging() -> bool:
    """Whether the padding is checked after every step."""
    return os.environ.get("FASTDLN_DEBUG") == "1"


def blocks(plan: Plan, layout: MethodLayout) -> dict[str, int]:
    """The blocks of an arena in their order, in entries."""
    problem, modes = plan.problem, plan.problem.watched
    stride = _stride(plan.entries, plan.entry)
    sizes = {
        **dict.fromkeys((*COMMON, *(f"slope{s}" for s in range(layout.slopes)), *layout.states), stride),
        "probe": stride if "gradient" in problem.raw else 0,
        "correction": stride if plan.correction else 0,
        "scratch": plan.n_scratch,
        "buffer": plan.buffer,
        "sampled": plan.batches.n_scratch if plan.batches else 0,
        "rates": update.RATES + problem.network.depth if problem.descent else 0,
        **dict.fromkeys(("step", "theta", "mask", "distance"), 1),
        "tolerance": 2,
        "factors": layout.factors,
        "output_factors": max(layout.output["terms"], layout.output["other_terms"]),
        "dense": layout.dense.size,
        "other_dense": layout.other_dense.size,
        "sums": max(2 * problem.network.depth, 3),
        **dict.fromkeys(("strengths", "thresholds"), modes),
        "seen": learning.PASSES * modes,
        **dict.fromkeys((f"ends{i}" for i in range(learning.KNOWN)), -(-modes // plan.unit) * plan.unit),
    }
    return sizes | {name: 0 for name in told.AT.names if name not in sizes}


def bytes_of(plan: Plan, layout: MethodLayout) -> int:
    """Bytes of the memory of a thread."""
    lanes, modes = plan.executor.lanes, plan.problem.watched
    samples = plan.problem.loss.n_samples if plan.batches else 0
    tables = 8 * lanes * (layout.control_rows + 1 + modes + learning.TABLE + samples)
    return sum(blocks(plan, layout).values()) * plan.entry + PAGE + tables + called_bytes(plan.problem)


def arena_bytes(entries: int, vectors: int, scratch: int, entry_bytes: int) -> int:
    """Bytes that the loop works on, with ``vectors`` vectors besides `COMMON`: what must fit the cache."""
    return ((len(COMMON) + vectors) * _stride(entries, entry_bytes) + scratch) * entry_bytes


def _norms(plan: Plan, scratch: int) -> NDArray[np.int64]:
    """The table of the norms of hidden growth, for scratch at an address."""
    hidden = plan.hidden
    rows = [
        (
            scratch + v * plan.entry, scratch + image * plan.entry, size, (v - hidden.vectors) * plan.dtype.itemsize,
            first, last,
        )
        for v, image, size, first, last in hidden.norms
    ]  # fmt: skip
    return np.array(rows, np.int64).reshape(-1, 6)


def _stride(entries: int, entry_bytes: int) -> int:
    size = entries * entry_bytes
    if size > PAGE // 2:
        size += (STAGGER - size) % PAGE
    return -(-size // entry_bytes)
