/** Durable jobs of this browser: their ids outlive the page, and the service keeps the rest. */

import * as client from "./client.js";
import * as storage from "./storage.js";

const STORED = "musicgen-jobs";
const MOST = 500;
const WAIT_S = 2; // of one request, so that progress is shown
const PAUSE_S = 2; // before the next attempt to reach the service; longer by Retry-After
const MOST_PAUSE_S = 60;
export const NO_JOBS = "jobs_disabled"; // code of the error of a service without jobs
const PASSING = [408, 429, 500, 502, 503, 504];

/** Ids of the jobs of this and earlier visits, the oldest first. */
export function remembered() {
  try {
    const ids = JSON.parse(storage.ofBrowser.get(STORED));
    return Array.isArray(ids) ? ids.filter((id) => /^[a-z0-9]{1,64}$/.test(id)) : [];
  } catch {
    return [];
  }
}

export function remember(id) {
  storage.ofBrowser.set(STORED, JSON.stringify([...remembered(), id].slice(-MOST)));
}

export function forget(id) {
  storage.ofBrowser.set(STORED, JSON.stringify(remembered().filter((one) => one !== id)));
}

/** Whether it will not change any more. */
export function hasEnded(job) {
  return !["queued", "running"].includes(job.status);
}

/**
 * Follows a job to its end, also through lost connections; `tell` gets each state of it, and null while the service
 * cannot be reached. Aborting the signal cancels the job.
 */
export async function follow(id, tell, signal) {
  const cancel = () => client.cancelJob(id).catch(() => {});
  signal.addEventListener("abort", cancel);
  try {
    for (let waitS = 0;; waitS = WAIT_S) {
      const job = await persistently(() => client.job(id, waitS, signal), isPassing, tell, signal);
      tell(job);
      if (hasEnded(job)) return job;
    }
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

/** Asks again after each error of which `isToRepeat` holds, and tells null then. Throws the others, and AbortError. */
export async function persistently(ask, isToRepeat, tell, signal) {
  for (;;) {
    signal.throwIfAborted();
    try {
      return await ask();
    } catch (error) {
      if (signal.aborted || !isToRepeat(error)) throw error;
      tell(null);
      await pause(Math.min(Math.max(PAUSE_S, error.retryAfterS ?? 0), MOST_PAUSE_S), signal);
    }
  }
}

/** Whether an error passes: a lost connection, or a service that is busy, restarting or behind a failing proxy. */
export function isPassing(error) {
  if (!(error instanceof client.ApiError)) return error.name !== "AbortError";
  return PASSING.includes(error.status) && error.code !== NO_JOBS;
}

/** Whether nobody knows what became of the request. */
export function isLost(error) {
  if (!(error instanceof client.ApiError)) return error.name !== "AbortError";
  return error.status === 502 || error.status === 504;
}

/** Waits, at most until the signal is aborted. */
function pause(seconds, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, 1_000 * seconds);
    signal.addEventListener("abort", end);
  });
}
