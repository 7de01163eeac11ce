"""Protocols: what a system is given of a clip, and which figures come of it."""
