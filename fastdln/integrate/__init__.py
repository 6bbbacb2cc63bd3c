"""Runge-Kutta methods as data and small pure functions; nothing here knows of networks."""
