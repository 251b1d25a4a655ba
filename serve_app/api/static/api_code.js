/** Programs that make the track of a request by the API: for curl, Python and TypeScript. */

const PATH = "v1/audio/generations";

/**
 * Programs of a request. fields: without sounds; sound: the field of a sound and the name of its file, or null;
 * address: of the service, with a slash at the end; hasKey: whether requests need a key
 */
export function programs(fields, sound, address, hasKey) {
  const body = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));
  const request = { body, sound, url: `${address}${PATH}`, hasKey };
  return { curl: curl(request), Python: python(request), TypeScript: typescript(request) };
}

function curl({ body, sound, url, hasKey }) {
  const key = hasKey ? [`-H "authorization: Bearer $MUSICGEN_API_KEY"`] : [];
  const form = Object.entries(body).map(([name, value]) => `--form-string ${quoted(`${name}=${value}`)}`);
  const content = sound
    ? [...form, `-F ${sound.field}=@${sound.file}`]
    : [`-H 'content-type: application/json'`, `-d ${quoted(JSON.stringify(body))}`];
  return [`curl --fail-with-body ${url}`, ...key, ...content, "-o track.wav"].join(" \\\n  ");
}

function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function python({ body, sound, url, hasKey }) {
  const imports = ["import json", ...(hasKey ? ["import os"] : []), "import urllib.request"];
  if (sound) imports.unshift("import base64");
  const key = hasKey ? [`    "authorization": f"Bearer {os.environ['MUSICGEN_API_KEY']}",`] : [];
  const file = sound
    ? [
      `with open("${sound.file}", "rb") as file:`,
      `    fields["${sound.field}"] = base64.b64encode(file.read()).decode()`,
    ]
    : [];
  return [
    ...imports,
    "",
    "fields = {",
    ...Object.entries(body).map(([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)},`),
    "}",
    ...file,
    "headers = {",
    '    "content-type": "application/json",',
    ...key,
    "}",
    `request = urllib.request.Request("${url}", json.dumps(fields).encode(), headers)`,
    "with urllib.request.urlopen(request) as answer:",
    '    with open("track.wav", "wb") as track:',
    "        track.write(answer.read())",
  ].join("\n");
}

function typescript({ body, sound, url, hasKey }) {
  const key = hasKey ? ["    authorization: `Bearer ${process.env.MUSICGEN_API_KEY}`,"] : [];
  const names = sound ? "readFile, writeFile" : "writeFile";
  const file = sound ? [`  ${sound.field}: await readFile("${sound.file}", "base64"),`] : [];
  return [
    ...(hasKey ? ['import process from "node:process";'] : []),
    `import { ${names} } from "node:fs/promises";`,
    "",
    "const fields = {",
    ...Object.entries(body).map(([name, value]) => `  ${name}: ${JSON.stringify(value)},`),
    ...file,
    "};",
    `const answer = await fetch("${url}", {`,
    '  method: "POST",',
    "  headers: {",
    '    "content-type": "application/json",',
    ...key,
    "  },",
    "  body: JSON.stringify(fields),",
    "});",
    "if (!answer.ok) throw new Error((await answer.json()).detail);",
    'await writeFile("track.wav", new Uint8Array(await answer.arrayBuffer()));',
  ].join("\n");
}
