"""MusicGen (arXiv:2306.05284): the language model over the codec's codes."""
