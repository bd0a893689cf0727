"""Networks that make images: their architectures, losses, samples, and how good the samples are."""
