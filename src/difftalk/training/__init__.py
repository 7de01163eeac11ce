"""Training (extra `train`): batches, losses, recipes, the one loop, export to ONNX."""
