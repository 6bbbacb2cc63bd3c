"""Make examples/digits.npz: the 8×8 handwritten digits, as inputs and targets of a linear network.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (1998), UCI Machine Learning
Repository, the 1797 images of the test set, as scikit-learn ships them. Licence: Creative Commons Attribution
4.0 (CC BY 4.0).

Needs scikit-learn, which fastdln itself does not: python examples/make_digits.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

SOURCE = (
    "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (1998), UCI Machine Learning "
    "Repository; test set, as shipped by scikit-learn. Pixels unchanged; labels also one-hot."
)
LICENCE = "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/"


def main() -> None:
    digits = load_digits()
    labels = digits.target.astype(np.uint8)
    path = Path(__file__).with_name("digits.npz")
    np.savez_compressed(
        path,
        X=digits.data.T.astype(np.uint8),  # (64, 1797): one image a column, row by row, pixels 0..16
        Y=np.eye(10, dtype=np.uint8)[:, labels],  # (10, 1797): one-hot
        labels=labels,
        source=np.array([SOURCE]),
        licence=np.array([LICENCE]),
    )
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
