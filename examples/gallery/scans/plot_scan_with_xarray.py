"""
A scan, read with xarray
========================

A scan is a flow of many networks in every cell of a grid, written to a Zarr store that survives a crash. It is a
labelled dataset for ``xarray``: select by depth or scale, take medians over the random starts, plot. This one asks how
long each mode of a target has to wait at two depths.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import xarray as xr

from fastdln.scan import scan

plt.style.use("petroff10")

# %%
# What would be a TOML file for ``fastdln scan`` is a mapping here. Lists and ranges are axes of the grid.

spec = {
    "trajectories": 32,
    "network": {"widths": [[5, 5, 3], [5, 5, 5, 3]]},
    "target": {"kind": "singular_values", "values": [4.0, 2.0, 1.0]},
    "init": {"kind": "gaussian", "scale": {"start": 0.03, "stop": 0.5, "count": 7, "spacing": "log"}},
    "flow": {"t_end": 200.0},
    "record": {"times": {"count": 64, "spacing": "log", "first": 0.1}, "observables": ["loss", "learning_times"]},
}
with tempfile.TemporaryDirectory() as folder:
    store = Path(folder, "waiting.zarr")
    scan(spec, store)
    data = xr.open_zarr(store).load()
data

# %%
# Dimensions have names, so medians and selections say what they mean.

fig, axes = plt.subplots(2, 2, figsize=(8, 6), layout="constrained")
middle = data.median("trajectory").assign_coords(mode=[1, 2, 3])
for row, widths in zip(axes, data.widths.values, strict=True):
    cell = middle.sel(widths=widths)
    lines = cell.learning_times.plot.line(
        x="scale", hue="mode", marker="o", ax=row[0], xscale="log", yscale="log", add_legend=False
    )
    row[0].set_xticks(data.scale.values[::2], [f"{scale:.2g}" for scale in data.scale.values[::2]])
    row[0].tick_params(axis="x", which="minor", labelbottom=False)
    row[0].set(title=f"widths {widths}", xlabel="scale of the start", ylabel="learning time, median")
    for scale in data.scale.values[::2]:
        row[1].plot(cell.t.sel(scale=scale), cell.loss.sel(scale=scale), label=f"{scale:.2g}")
    row[1].set(title=f"widths {widths}", xlabel="time $t$", ylabel="loss, median", xscale="log")
axes[1, 0].legend(lines, middle.mode.values, title="mode", loc="lower left")
axes[0, 1].legend(title="scale")
plt.show()
