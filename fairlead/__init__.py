"""Fairlead: never test the same thing twice; never land what was not tested."""

__version__ = "0.1.0"
