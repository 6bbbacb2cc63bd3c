"""What an engine is asked, where a test asks it without `flow`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fastdln as dln
from fastdln.engines.base import Options, Problem
from fastdln.losses import Loss


def posed(network: dln.Network, loss: Loss, start: np.ndarray, options: Options, **fields: Any) -> Problem:
    """A problem of some starts (n, parameters), recording nothing unless ``fields`` say so."""
    usual = {
        "origin": start, "atol": np.full(len(start), 1e-9), "duration": 1.0, "direction": 1.0, "times": np.zeros(0),
        "raw": (), "learning": False, "layer_sizes": tuple(map(math.prod, network.shapes)),
    }  # fmt: skip
    return Problem(network=network, loss=loss, options=options, start=start, **(usual | fields))
