"""Faces: found, meshed, followed, posed, aligned, told apart. Knows nothing of audio."""
