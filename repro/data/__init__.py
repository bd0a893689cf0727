"""Data sets as tensors on the device, selection of training examples, and augmentation of image batches."""
