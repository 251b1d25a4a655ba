/** The task of the form: one at a time, which can be canceled, and whose errors are told. */

import * as client from "./client.js";
import * as now from "./now.js";
import * as words from "./words.js";

const $ = (id) => document.getElementById(id);
let working = null; // the running task

/** Runs task(working), with the signal of Cancel in it. */
export async function work(status, task) {
  if (working) return tellError("A track is being made. Cancel it, or wait until it is done.");
  working = now.begin(status);
  hideError();
  $("generate").setAttribute("aria-disabled", "true"); // `disabled` would take the focus away
  try {
    await task(working);
    now.end(working, "Done.");
  } catch (error) {
    now.end(working);
    fail(error);
  } finally {
    working = null;
    $("generate").removeAttribute("aria-disabled");
  }
}

/** Tells an error, and asks for a key where it is needed. */
export function fail(error) {
  if (error.name === "AbortError") return;
  if (error.status === 401) askForKey();
  tellError(words.ofError(error));
  if (!(error instanceof client.ApiError)) console.error(error);
}

export function hideError() {
  $("error").hidden = true;
}

function tellError(sentence) {
  $("error").textContent = sentence;
  $("error").hidden = false;
}

$("error-close").onclick = () => {
  hideError();
  $("generate").focus();
};

function askForKey() {
  $("key-box").hidden = false;
  $("key").setAttribute("aria-invalid", String(client.hasKey()));
  $("key").focus();
}
