"""From a checkpoint to an export that stock Paddle or ONNX Runtime runs, and from images to predictions."""
