"""Render music by all cores."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tools.nano.composer import render
from tools.nano.prompts import duration_s, random_example

FULL_SCALE = 32767
PCM = NDArray[np.int16]
T = TypeVar("T")


def piece(seed: int) -> PCM:
    """The example of this seed in its own duration: int16 [n]"""
    score = random_example(seed)[0]
    return _pcm(render(score, duration_s(seed)))


def track(seed_and_duration_s: tuple[int, int]) -> PCM:
    """The example of this seed for so long; every other one ends there."""
    seed, seconds = seed_and_duration_s
    score = replace(random_example(seed)[0], length_s=seconds if seed % 2 else None)
    return _pcm(render(score, seconds))


def _pcm(samples: NDArray[np.float32]) -> PCM:
    return np.asarray(np.round(samples * FULL_SCALE), np.int16)


@contextmanager
def renderer(work: Callable[[T], PCM]) -> Iterator[Callable[[Sequence[T]], Iterator[PCM]]]:
    """Map items to results in order, by as many processes as there are cores.

    The processes are started afresh: CUDA does not survive a fork.
    """
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        yield lambda items: pool.imap(work, items, chunksize=4)
