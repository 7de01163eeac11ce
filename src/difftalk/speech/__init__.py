"""Speech: pieces of sound -> what a frame hears, mouth shapes among it. Knows nothing of pixels."""
