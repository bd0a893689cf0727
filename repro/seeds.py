"""Independent random streams from one seed."""

import hashlib


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called `names` of the run seeded `seed`.

    Hashing keeps streams independent of each other and of the order in which they are created: adding an
    augmentation, for example, does not change the order of the training images.
    """
    text = ":".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
