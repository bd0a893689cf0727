"""Data sets as uint8 tensors on the device, which part of them is used, and how batches are augmented."""
