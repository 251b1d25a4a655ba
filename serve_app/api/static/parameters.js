/** Inputs and choices of the page, built from the service's OpenAPI document. */

const LABELS = { cfg_coef: "Guidance" };
const FORMAT_LABELS = { opus: "Opus" };

/** Names of the sampling parameters. */
export function samplingNames(api) {
  return api["x-sampling-parameters"];
}

/** A labelled input for each sampling parameter but the seed, which has an input of its own. */
export function samplingInputs(api) {
  const properties = generation(api);
  return samplingNames(api).filter((name) => name !== "seed").map((name) => labelled(name, properties[name]));
}

/** Gives `input` the bounds, the step and the description of the property `name`. */
export function bound(input, api, name) {
  describe(input, generation(api)[name]);
}

/** Formats of a download: [{ name, label, extension }]. */
export function formats(api) {
  const conversion = api.paths["/v1/audio/conversions"].post.requestBody.content["multipart/form-data"].schema;
  return conversion.properties.response_format.enum.map((name) => ({
    name,
    label: FORMAT_LABELS[name] ?? name.toUpperCase(),
    extension: api["x-file-extensions"][name],
  }));
}

function generation(api) {
  return api.paths["/v1/audio/generations"].post.requestBody.content["application/json"].schema.properties;
}

function labelled(name, property) {
  const label = document.createElement("label");
  label.htmlFor = name;
  label.textContent = LABELS[name] ?? words(name);
  const input = document.createElement("input");
  input.id = input.name = name;
  input.type = "number";
  input.defaultValue = property.default;
  describe(input, property);
  const box = document.createElement("div");
  box.append(label, input);
  return box;
}

function describe(input, property) {
  const number = property.anyOf?.find((one) => one.type !== "null") ?? property;
  input.min = number.minimum ?? "";
  input.max = Math.min(number.maximum ?? Infinity, Number.MAX_SAFE_INTEGER);
  input.step = number.type === "integer" ? 1 : "any";
  input.title = property.description ?? number.description ?? "";
}

/** "top_k" -> "Top k" */
function words(name) {
  return name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
}
