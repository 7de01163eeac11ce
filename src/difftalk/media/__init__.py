"""Files in and out: sound, pictures, videos; the mp4 writer. Knows nothing of faces or models."""
