"""Talking: who speaks, what they are drawn on, and the frames that come of it."""
