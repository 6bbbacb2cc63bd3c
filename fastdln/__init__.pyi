# The public names with their types, for checkers and editors: `__init__.py` loads them when they are first used.
from fastdln import figures as figures, inits as inits, interop as interop, theory as theory
from fastdln.comparison import Comparison as Comparison, compare as compare
from fastdln.descent import descend as descend
from fastdln.field import gradient_norm as gradient_norm, product as product, rhs as rhs, value as value
from fastdln.gradient_flow import Stop as Stop, flow as flow
from fastdln.integrate import schedules as schedules
from fastdln.integrate.status import Status as Status
from fastdln.integrate.tableau import Tableau as Tableau
from fastdln.losses import (
    Custom as Custom,
    Exponential as Exponential,
    Huber as Huber,
    Logistic as Logistic,
    Masked as Masked,
    Power as Power,
    PseudoHuber as PseudoHuber,
    Quadratic as Quadratic,
    Regression as Regression,
    Sensing as Sensing,
    SoftmaxCrossEntropy as SoftmaxCrossEntropy,
)
from fastdln.modified import modified_flow as modified_flow
from fastdln.network import Network as Network
from fastdln.results.files import load as load
from fastdln.results.trajectories import FlowError as FlowError, Trajectories as Trajectories

__version__: str
