"""Compiled code only: arrays in, arrays out, no validation; imports nothing from above."""
