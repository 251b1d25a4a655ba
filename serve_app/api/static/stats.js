/** The page of statistics: the state of every replica. */

import * as client from "./client.js";

const INTERVAL_MS = 2000;
const COLUMNS = [
  ["Slots", (s) => `${s.slots_used} of ${s.slots}`],
  ["Queued", (s) => `${s.queued_requests} (${seconds(s.queued_audio_s)})`],
  ["Remaining", (s) => seconds(s.running_audio_s)],
  ["Speed", (s) => `${s.real_time_factor.toFixed(1)} × real time`],
  ["Step", (s) => `${(1000 * s.step_s).toFixed(1)} ms`],
  ["KV cache", (s) => `${(s.kv_cache_bytes / 2 ** 30).toFixed(2)} GiB`],
];

const $ = (id) => document.getElementById(id);

function seconds(value) {
  return `${value.toFixed(value < 10 ? 1 : 0)} s`;
}

function element(name, content, ...children) {
  const made = document.createElement(name);
  made.textContent = content;
  made.append(...children);
  return made;
}

/** A cell that names its column, for widths at which the head of the table is hidden. */
function cell(column, content) {
  const made = element("td", content);
  made.dataset.column = column;
  return made;
}

/** A card of one model, with a row for each replica. */
function card(name, replicas, isDefault) {
  const title = element("h2", isDefault ? `${name} (default)` : name);
  if (replicas.length === 0) return element("section", "", title, element("p", "No replica is running."));
  const head = element("tr", "", element("th", "Replica"), ...COLUMNS.map(([column]) => element("th", column)));
  const rows = replicas.map((stats, number) =>
    element("tr", "", element("th", `${number + 1}`), ...COLUMNS.map(([column, show]) => cell(column, show(stats))))
  );
  const table = element("table", "", element("thead", "", head), element("tbody", "", ...rows));
  return element("section", "", title, table);
}

async function refresh() {
  try {
    const stats = await client.stats();
    const cards = Object.entries(stats.models).map(([name, all]) => card(name, all, name === stats.model_size));
    $("models").replaceChildren(...cards);
    $("error").hidden = $("key-box").hidden = true;
  } catch (error) {
    $("key-box").hidden = error.status !== 401;
    $("error").textContent = error.message;
    $("error").hidden = false;
  }
  setTimeout(refresh, INTERVAL_MS);
}

$("key").onchange = () => client.saveKey($("key").value);
refresh();
