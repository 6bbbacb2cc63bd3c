"""Scans: a grid of parameters from a TOML file, integrated into a store that survives crashes."""
