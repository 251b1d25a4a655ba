"""Errors that only the edge answers with."""

from serve_app.errors import InvalidRequest, ServeAppError


class MalformedRequest(InvalidRequest):
    code = "malformed_request"
    title = "The request is not valid HTTP"


class PathNotFound(ServeAppError):
    status = 404
    code = "path_not_found"
    title = "Nothing is served at this path"


class UriTooLong(ServeAppError):
    status = 414
    code = "uri_too_long"
    title = "The request's URL exceeds the service's limit"


class TooManyRequests(ServeAppError):
    status = 429
    code = "too_many_requests"
    title = "Too many unfinished requests come from this address"
    retryable = True


class Overloaded(ServeAppError):
    status = 429
    code = "overloaded"
    title = "The service is working on as many requests as it can"
    retryable = True


class BadGateway(ServeAppError):
    status = 502
    code = "bad_gateway"
    title = "The service broke off its answer"
    retryable = True


class Unavailable(ServeAppError):
    status = 503
    code = "unavailable"
    title = "The service is starting, restarting or full"
    retryable = True


class GatewayTimeout(ServeAppError):
    status = 504
    code = "gateway_timeout"
    title = "The service did not answer in time"
