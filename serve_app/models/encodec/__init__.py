"""EnCodec (arXiv:2210.13438): the codec between audio and codes."""
