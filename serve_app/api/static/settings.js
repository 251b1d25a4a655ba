/** The settings of the form: read for a request, and restored from a track. */

import * as models from "./models.js";
import * as sound from "./sound_input.js";

const form = document.getElementById("form");
let sampling = []; // names of the sampling parameters

/** Names the sampling parameters, which have inputs from now on. */
export function nameSampling(names) {
  sampling = names;
}

/** The names of the sampling parameters; none before they have been loaded. */
export function samplingNames() {
  return sampling;
}

/** Reads the settings as the fields of a request. */
export async function read() {
  return { ...readWithoutSound(), ...await sound.fields() };
}

/** Reads the settings but for the sound. */
export function readWithoutSound() {
  const values = Object.fromEntries(new FormData(form));
  const wanted = { prompt: values.prompt.trim(), model: values.model || null };
  for (const name of ["duration_s", ...sampling]) {
    if (values[name]) wanted[name] = Number(values[name]);
  }
  return wanted;
}

/**
 * Sets all settings to those of a request; what it lacks, to the default. Resolves once its sound is read. Returns
 * whether its model is served: another one stays as it is.
 */
export async function restore(fields) {
  form.elements.prompt.value = fields.prompt;
  const isServed = !fields.model || models.choose(fields.model);
  for (const name of ["duration_s", ...sampling]) {
    const input = form.elements[name];
    input.value = fields[name] ?? input.defaultValue;
  }
  await sound.restore(fields);
  return isServed;
}
