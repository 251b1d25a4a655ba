/** The panel of what is being made: the task of the form, else an earlier track that is not finished. */

const $ = (id) => document.getElementById(id);
const tasks = []; // the last one is shown, and is the one that Cancel cancels

/** Begins a task. isBehind: it is shown only while there is no other. Returns it, with the signal of Cancel. */
export function begin(status, isBehind = false) {
  const controller = new AbortController();
  const task = { controller, signal: controller.signal, status, fraction: null };
  if (isBehind) tasks.unshift(task);
  else tasks.push(task);
  draw();
  return task;
}

/** Tells the progress of a task. fraction: null while it is unknown. */
export function tell(task, status, fraction) {
  Object.assign(task, { status, fraction });
  draw();
}

/** Ends a task. A status stays in the panel if nothing else is being made. */
export function end(task, status = null) {
  tasks.splice(tasks.indexOf(task), 1);
  draw();
  if (tasks.length > 0 || status === null) return;
  $("now").hidden = false;
  $("progress").hidden = true;
  write(status, 1);
}

function draw() {
  const shown = tasks.at(-1);
  const hadFocus = document.activeElement === $("cancel");
  $("now").hidden = $("cancel").hidden = shown === undefined;
  if (hadFocus && $("cancel").hidden) $("generate").focus();
  if (shown === undefined) return;
  $("progress").hidden = false;
  write(shown.status, shown.fraction);
}

function write(status, fraction) {
  $("status").textContent = status;
  if (fraction === null) $("progress").removeAttribute("value");
  else $("progress").value = fraction;
}

/** Cancels the task that is shown. Returns whether there was one. */
export function cancel() {
  const shown = tasks.at(-1);
  shown?.controller.abort();
  return shown !== undefined;
}

$("cancel").onclick = cancel;
