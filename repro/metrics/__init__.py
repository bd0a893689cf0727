"""Fidelity, generalization, calibration and representation similarity, as functions of tensors."""
