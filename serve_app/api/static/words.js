/** Errors in words. */

import { ApiError, hasKey } from "./client.js";

const LABELS = { duration_s: "Seconds", cfg_coef: "Guidance", prompt: "Prompt", seed: "Seed", model: "Model" };

/** Tells an error in a sentence for the person at the page. */
export function ofError(error) {
  if (error instanceof ApiError) return ofAnswer(error);
  if (error instanceof TypeError) return "The service cannot be reached. Is it running?"; // fetch's
  return `The page failed: ${error.message}. Reload it, and try again.`;
}

/** A track that ended early. reason: the error that ended it */
export function ofPart(seconds, reason) {
  const ended = reason.name === "AbortError" ? "Canceled" : "Broken off";
  return `${ended} after ${seconds.toFixed(1)} s`;
}

function ofAnswer(error) {
  if (error.status === 401 && hasKey()) {
    return "The API key is wrong: the service does not know it. Check the key, and whether it was replaced.";
  }
  const later = error.retryAfterS ? ` Try again in ${error.retryAfterS} s.` : "";
  return `${labelled(error.message)}${later}`;
}

/** "duration_s: Input should be …" -> "Seconds: Input should be …" */
function labelled(detail) {
  return detail.replace(/^(\w+): /, (whole, name) => name in LABELS ? `${LABELS[name]}: ` : whole);
}
