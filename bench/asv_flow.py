"""asv: time, steps, right-hand sides and memory of `flow()` on every workload.

``asv machine --yes``, then ``asv run --launch-method spawn``: the default fork does not go with threads.
The counts are free of noise: they are the guard against a method that got worse, the times show the trend.
"""

from __future__ import annotations

from bench.workloads import WORKLOADS


class Flow:
    params = tuple(WORKLOADS)
    param_names = ("widths",)
    warmup_time = 0.1

    def setup(self, name: str) -> None:
        self.workload = WORKLOADS[name]
        self.loss = self.workload.loss()
        self.starts = self.workload.starts()
        self.workload.run(tuple(W[:1] for W in self.starts), self.loss)  # compile

    def time_flow(self, name: str) -> None:
        self.workload.run(self.starts, self.loss)

    def peakmem_flow(self, name: str) -> None:
        self.workload.run(self.starts, self.loss)

    def track_accepted_steps(self, name: str) -> float:
        return float(self.workload.run(self.starts, self.loss).n_accepted.mean())

    def track_right_hand_sides(self, name: str) -> float:
        return float(self.workload.run(self.starts, self.loss).n_rhs.mean())

    track_accepted_steps.unit = "steps/trajectory"
    track_right_hand_sides.unit = "evaluations/trajectory"


class Import:
    def timeraw_import(self) -> tuple[str, str]:
        return "import fastdln", "import numpy"
