/** Errors of the functions: each knows its answer. */

export class FunctionError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly details: string,
    readonly retryAfter: string | null = null,
  ) {
    super(message);
  }

  get retryable(): boolean {
    return [429, 502, 503, 504].includes(this.status);
  }
}

/** Invalid request. `details` names each field with its error. */
export class BadRequest extends FunctionError {
  constructor(details: string) {
    super("Invalid request", 400, details);
  }
}

/** Caller without a valid key or token. */
export class Unauthorized extends FunctionError {
  constructor(details: string) {
    super("The request has no valid key", 401, details);
  }
}

/** Refusal or failure of the service, with the status for the front end; 504 when the time budget is spent. */
export class ServiceError extends FunctionError {}
