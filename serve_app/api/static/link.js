/** Links that bring back a prompt, a seed and the settings. They stay in the browser: a server sees no fragment. */

const NOT_LINKED = ["melody", "audio_prompt"]; // files

/** The address of this page with these fields of a request. */
export function addressOf(fields) {
  const linked = Object.entries(fields).filter(([name, value]) => !NOT_LINKED.includes(name) && value !== null);
  return `${location.origin}${location.pathname}#${new URLSearchParams(linked)}`;
}

/** The fields that this page's address names; null: none. */
export function fieldsHere() {
  const named = new URLSearchParams(location.hash.slice(1));
  if (!named.has("prompt")) return null;
  for (const name of NOT_LINKED) named.delete(name);
  const fields = Object.fromEntries(named);
  return { ...fields, seed: fields.seed ?? "" };
}
