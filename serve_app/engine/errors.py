"""Errors of fine-tunes, in the tree of `serve_app.errors`."""

from serve_app.errors import ModelLoading


class ModelLoadFailed(ModelLoading):
    code = "model_load_failed"
    title = "The model's checkpoint could not be loaded"
