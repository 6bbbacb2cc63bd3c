from fastdln.theory.rates.certificates import *
