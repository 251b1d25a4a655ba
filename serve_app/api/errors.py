"""The errors that only HTTP has: of encodings, ranges, origins and dialects."""

from serve_app.errors import InvalidRequest, ServeAppError


class InvalidInput(InvalidRequest):
    status = 422
    code = "invalid_input"
    title = "The input of the prediction is not valid"


class OriginNotAllowed(ServeAppError):
    status = 403
    code = "origin_not_allowed"
    title = "Web pages of this origin may not call the service"


class UnsupportedEncoding(ServeAppError):
    status = 415
    code = "unsupported_encoding"
    title = "The body's content encoding is not supported"


class RangeNotSatisfiable(ServeAppError):
    status = 416
    code = "range_not_satisfiable"
    title = "The requested range lies beyond the end of the file"


class Overloaded(ServeAppError):
    status = 429
    code = "overloaded"
    title = "The service is working on as many requests as it can"
    retryable = True
