"""Data: clips -> prepared samples and packs, and samples as training and evaluation see them."""
