/** Durable jobs of this browser: their ids outlive the page, and the service keeps the rest. */

import * as client from "./client.js";

const STORED = "musicgen-jobs";
const MOST = 50;
const WAIT_S = 2; // of one request, so that progress is shown
const PAUSE_MS = 2_000; // before the next attempt to reach the service

/** Ids of the jobs of this and earlier visits, the oldest first. */
export function remembered() {
  try {
    const ids = JSON.parse(localStorage.getItem(STORED));
    return Array.isArray(ids) ? ids.filter((id) => /^[a-z0-9]{1,64}$/.test(id)) : [];
  } catch {
    return [];
  }
}

export function remember(id) {
  localStorage.setItem(STORED, JSON.stringify([...remembered(), id].slice(-MOST)));
}

export function forget(id) {
  localStorage.setItem(STORED, JSON.stringify(remembered().filter((one) => one !== id)));
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
      const job = await attempt(id, waitS, signal);
      tell(job);
      if (job && hasEnded(job)) return job;
      if (!job) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

/** Fetches the job's state; null while the service cannot be reached or is restarting. */
async function attempt(id, waitS, signal) {
  try {
    return await client.job(id, waitS, signal);
  } catch (error) {
    const isPassing = error instanceof client.ApiError ? error.status >= 429 : error.name !== "AbortError";
    if (!isPassing || signal.aborted) throw error;
    return null;
  }
}
