"""Figures: of pictures, of mouth curves, of how things look and go together."""
