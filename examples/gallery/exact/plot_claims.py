"""
Claims, checked
===============

Every statement of the survey is an executable check: it is tried on random instances that fulfil its hypotheses, and
where a hypothesis matters also on one that does not. Dots are the largest errors in units of what the check allows:
left of the line the statement holds. Crosses are instances outside the hypotheses: right of the line it fails there,
as it should. ``fastdln verify`` runs all of them (survey, arXiv 2511.10362).
"""

import matplotlib.pyplot as plt
import numpy as np

from fastdln import claims

plt.style.use("petroff10")

# %%
# A choice of statements; ``claims.check()`` takes all. Behind the names is the number of instances.

names = (
    "matrix-ode", "balance-is-conserved", "balance-under-a-heavy-ball", "critical-points-have-learned-modes",
    "spectrum-at-balanced-minima", "least-sharpness", "order-of-escape", "balanced-has-least-norm",
    "alignment-lasts-if-balanced", "decoupled-modes-stay-decoupled", "balanced-modes-in-closed-form",
    "two-layers-by-a-riccati-equation", "product-of-balanced-layers", "global-bound-by-imbalance",
    "descent-is-stable-below-the-limit", "exponent-at-the-end-of-chaos", "reduction-is-exact",
)  # fmt: skip
verdicts = [verdict for name in names for verdict in claims.check(name)]

# %%
# Errors below 1e-8 of the tolerance are drawn at the left end.

fig, ax = plt.subplots(figsize=(8, 5.5), layout="constrained")
for row, verdict in enumerate(reversed(verdicts)):
    ax.plot(max(verdict.worst / verdict.tolerance, 1e-8), row, "o", color="C0" if verdict.holds else "C2")
    if verdict.outside is not None:
        ax.plot(verdict.outside.error / verdict.tolerance, row, "x", color="C1", mew=2)
ax.axvline(1, color="black", lw=1)
ax.plot([], [], "o", color="C0", label="within the hypotheses")
ax.plot([], [], "x", color="C1", mew=2, label="outside of them")
ax.set_yticks(np.arange(len(verdicts)), [f"{v.name} ({v.count})" for v in reversed(verdicts)])
ax.set(xscale="log", xlabel="largest error / tolerance", title=f"{sum(v.holds for v in verdicts)} of {len(names)} hold")
fig.legend(loc="outside lower center", ncols=2)
plt.show()
