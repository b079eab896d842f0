"""Threads in processes that ``nlp.pipe(n_process=...)`` forks."""

import os
import sys

_registered = False


def use_one_thread_after_fork() -> None:
    """Have forked children compute with one thread; further calls do nothing.

    The OpenMP pools of torch and faiss do not survive a fork: a child that computes with more than
    one thread waits for workers that exist in the parent only.
    """
    global _registered
    if not _registered and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_use_one_thread)
        _registered = True


def _use_one_thread() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
    faiss = sys.modules.get("faiss")
    if faiss is not None:
        faiss.omp_set_num_threads(1)
