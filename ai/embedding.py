"""Embeddings of texts, by weights that are in a wheel: nothing is downloaded, ever."""

import logging
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from wordllama import WordLlamaInference

DIMENSIONS = 256


@cache
def _model() -> "WordLlamaInference":
    # A few sentences at a time: sharing them out between threads cost a fifth of a call's CPU.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    import wordllama

    # Importing it makes the whole process log at INFO to stderr.
    root.handlers, root.level = handlers, level
    # The wheel's own folder as its cache: without it, it looks for the tokenizer in a hub.
    folder = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=folder, disable_download=True)


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """WordLlama's vectors of length one, shape (texts, 256): their product is the cosine.

    Means of static token vectors (https://github.com/dleemiller/WordLlama): words in another order
    are the same to it. A text without a known token is all zeros.
    """
    if not texts:
        return np.zeros((0, DIMENSIONS), np.float32)
    vectors: NDArray[np.float32] = np.asarray(_model().embed(list(texts)), np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    unit: NDArray[np.float32] = (vectors / lengths).astype(np.float32)
    return unit
