"""Rounding of the positions that attention reads."""

BUCKET = 64  # positions


def bucket(length: int) -> int:
    """Round `length` up to a multiple of BUCKET.

    Within a bucket and between buckets, a row's attention result is independent of the batch's
    length.
    """
    return -(-length // BUCKET) * BUCKET
