"""Data sets as tensors on the device, which part of them is used, and how batches of images are augmented."""
