"""The torch nets (extra `train`): tensors in, tensors out. They know nothing of files, data or losses."""
