"""Closed forms and reduced equations: flows that are known without integrating the network.

`mode` and `mode_time` follow one balanced mode; `decoupled` follows modes whose layers differ; `two_layer` and
`scalar_two_layer` solve two layers; `end_to_end` moves the product of balanced layers of any depth.
"""

from __future__ import annotations

from fastdln.theory.exact.decoupling import decoupled
from fastdln.theory.exact.end_to_end import end_to_end
from fastdln.theory.exact.modes import mode, mode_time
from fastdln.theory.exact.two_layers import TwoLayer, scalar_two_layer, two_layer

__all__ = ["TwoLayer", "decoupled", "end_to_end", "mode", "mode_time", "scalar_two_layer", "two_layer"]
