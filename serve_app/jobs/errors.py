"""Errors of jobs, in the tree of `serve_app.errors`."""

from serve_app.errors import InvalidRequest, ServeAppError


class JobNotFound(ServeAppError):
    status = 404
    code = "job_not_found"
    title = "No job has this id, or it was made with another API key"


class UploadNotFound(ServeAppError):
    status = 404
    code = "file_not_found"
    title = "No uploaded file has this id, or it has expired"


class JobNotFinished(ServeAppError):
    status = 409
    code = "job_not_finished"
    title = "The job has no result yet"
    retryable = True


class JobHasNoResult(ServeAppError):
    status = 409
    code = "job_has_no_result"
    title = "The job ended without a file that is kept here"


class ResultExpired(ServeAppError):
    status = 410
    code = "result_expired"
    title = "The job's result has been deleted"


class IdempotencyMismatch(ServeAppError):
    status = 422
    code = "idempotency_mismatch"
    title = "The idempotency key was used with another request"


class JobsDisabled(ServeAppError):
    status = 503
    code = "jobs_disabled"
    title = "The service keeps no jobs"


class JobStoreUnavailable(ServeAppError):
    status = 503
    code = "job_store_unavailable"
    title = "The database of jobs cannot be used"
    retryable = True


class WorkerLost(ServeAppError):
    status = 503
    code = "worker_lost"
    title = "The workers of the job were lost, as often as a job is started"
    retryable = True


class ResultsUnavailable(ServeAppError):
    status = 503
    code = "results_unavailable"
    title = "The store of results cannot be used"
    retryable = True


class AddressRefused(InvalidRequest):
    code = "address_refused"
    title = "The service does not send to this address"


class UploadFailed(ServeAppError):
    status = 502
    code = "upload_failed"
    title = "The track could not be sent to the job's upload address"
