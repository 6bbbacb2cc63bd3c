"""A network as its layered graph: where nodes and edges lie, and the weight of each edge at each record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_EDGES", "Graph", "graph"]

Floats = NDArray[np.float64]

MOST_EDGES = 3000
"""Of more edges those are drawn whose weight is at some time the largest; the first, where no weights are known."""


@dataclass(frozen=True)
class Graph:
    """A layered graph; layer 0, the inputs, stands on the left."""

    widths: tuple[int, ...]
    nodes: Floats
    """Shape (n_nodes, 2)."""
    edges: NDArray[np.intp]
    """Shape (n_edges, 3): the layer of its weight from 1 on, its row there, its column. The largest come last."""
    weights: Floats | None
    """Shape (n_t, n_edges); None where they were not recorded."""
    n_edges: int
    """Those of the network."""

    @property
    def largest(self) -> float:
        """The largest weight of the edges, in size, at any time; 1 where there is none."""
        if self.weights is None:
            return 1.0
        known = np.abs(self.weights[np.isfinite(self.weights)])
        return float(known.max(initial=0.0)) or 1.0

    def ends(self) -> tuple[Floats, Floats]:
        """Place the two ends of each edge.

        Returns
        -------
        begin, end : ndarray, shape (n_edges, 2)
            On the left and on the right.
        """
        layer, rows, columns = self.edges.T
        first = np.concatenate([[0], np.cumsum(self.widths)])
        return self.nodes[first[layer - 1] + columns], self.nodes[first[layer] + rows]


def graph(widths: Sequence[int], weights: Sequence[Floats] | None) -> Graph:
    """Lay a network out.

    Parameters
    ----------
    widths : sequence of int
        d_0, ..., d_h.
    weights : sequence of h ndarrays, shape (n_t, d_i, d_{i-1}), or None
        The recorded weights.

    Returns
    -------
    Graph
        With at most `MOST_EDGES` edges.

    Examples
    --------
    >>> graph((2, 3, 1), None).edges.shape
    (9, 3)
    """
    nodes = [(i, y) for i, d in enumerate(widths) for y in -np.linspace(-1, 1, d + 2)[1:-1]]
    edges = np.concatenate(
        [
            np.stack([np.full(d * c, i), *(index.ravel() for index in np.indices((d, c)))], axis=1)
            for i, (c, d) in enumerate(pairwise(widths), start=1)
        ]
    )
    flat = None if weights is None else np.concatenate([W.reshape(len(W), -1) for W in weights], axis=1)
    n_edges = len(edges)
    if flat is not None:
        kept = np.argsort(np.nan_to_num(np.abs(flat)).max(axis=0, initial=0.0), kind="stable")[-MOST_EDGES:]
        edges, flat = edges[kept], flat[:, kept]
    edges = edges[:MOST_EDGES]
    return Graph(tuple(widths), np.array(nodes, np.float64), edges, flat, n_edges)
