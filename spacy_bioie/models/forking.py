"""Worker processes that are forked from one that has computed with several threads.

The OpenMP threads of torch and faiss do not survive a fork: the first parallel region in the
child waits for them for ever, which hangs ``nlp.pipe(n_process=2)``.
"""

import os
import sys

TOKENIZERS = "TOKENIZERS_PARALLELISM"

_registered = False
_parent_setting: "str | None" = None


def limit_threads_after_fork() -> None:
    """From now on, let torch, faiss and tokenizers use one thread in every forked process.

    May be called often; the hooks are registered once. Nothing is imported: a library that the
    parent has not loaded is left alone. Does nothing where processes cannot be forked.
    """
    global _registered
    if _registered or not hasattr(os, "register_at_fork"):
        return
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_use_one_thread
    )
    _registered = True


def _before_fork() -> None:
    # tokenizers looks at this while the process forks, and complains where it is not set.
    global _parent_setting
    _parent_setting = os.environ.get(TOKENIZERS)
    os.environ[TOKENIZERS] = "false"


def _after_in_parent() -> None:
    if _parent_setting is None:
        os.environ.pop(TOKENIZERS, None)
    else:
        os.environ[TOKENIZERS] = _parent_setting


def _use_one_thread() -> None:
    for library, function in (("torch", "set_num_threads"), ("faiss", "omp_set_num_threads")):
        # Absent too where the library is being imported while another thread forks.
        set_threads = getattr(sys.modules.get(library), function, None)
        if set_threads is not None:
            set_threads(1)
