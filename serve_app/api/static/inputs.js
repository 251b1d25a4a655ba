/** The inputs of the form that the service decides: sampling parameters, formats of downloads, models. */

import * as client from "./client.js";
import * as history from "./history.js";
import * as models from "./models.js";
import * as parameters from "./parameters.js";
import * as settings from "./settings.js";

let loading = null; // promise of the sampling parameters and the formats

/** Loads the sampling parameters and the formats once; after a failure, again. */
export function loadParameters() {
  loading ??= readParameters().catch((error) => {
    loading = null;
    throw error;
  });
  return loading;
}

/** Loads all of them: without their names, the form's fields would lack the seed. */
export async function load() {
  await loadParameters();
  if (!models.areLoaded()) await models.load();
}

async function readParameters() {
  const api = await client.openapi();
  document.getElementById("sampling").replaceChildren(...parameters.samplingInputs(api));
  parameters.bound(document.getElementById("seed"), api, "seed");
  settings.nameSampling(parameters.samplingNames(api));
  history.offer(parameters.formats(api));
}
