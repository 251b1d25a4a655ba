/** The settings of the form: read for a request, and restored from a track. */

import * as melody from "./melody.js";
import * as models from "./models.js";

const form = document.getElementById("form");
let sampling = []; // names of the sampling parameters

/** Names the sampling parameters, which have inputs from now on. */
export function nameSampling(names) {
  sampling = names;
}

/** Reads the settings as the fields of a request. */
export async function read() {
  const values = Object.fromEntries(new FormData(form));
  const wanted = { prompt: values.prompt.trim(), model: values.model || null };
  for (const name of ["duration_s", ...sampling]) {
    if (values[name] !== "") wanted[name] = Number(values[name]);
  }
  const tune = await melody.content();
  return tune === null ? wanted : { ...wanted, melody: tune };
}

/** Sets all settings to those of a request; what it lacks, to the default. */
export function restore(fields) {
  form.elements.prompt.value = fields.prompt;
  if (fields.model) models.choose(fields.model);
  for (const name of ["duration_s", ...sampling]) {
    const input = form.elements[name];
    input.value = fields[name] ?? input.defaultValue;
  }
  melody.restore(fields.melody ?? null);
}
