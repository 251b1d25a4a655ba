/** Keeps the page and its files, so that it opens without a connection. The service's answers are never kept. */

const CACHE = "musicgen-shell";
const SHELL = ["./"]; // and what the page of the service names
const FOLDER = "static/";
const PATIENCE_MS = 4_000; // with a connection that does not answer, before the kept file is taken

const scope = new URL(self.registration.scope);
let hangs = false; // whether the last answer was late

/** Whether a request is for the page or one of its files. */
function isShell({ method, url }) {
  const { origin, pathname } = new URL(url);
  if (method !== "GET" || origin !== scope.origin) return false;
  const path = pathname.slice(scope.pathname.length);
  return path === "" || (path.startsWith(FOLDER) && !path.startsWith(`${FOLDER}swagger/`));
}

/** Fetches the page, its files, and the modules that these import. */
async function keepShell() {
  const cache = await caches.open(CACHE);
  const wanted = SHELL.map((path) => new URL(path, scope).href);
  for (const url of wanted) {
    const response = await fetch(url, { cache: "no-cache" });
    if (!isFile(response)) throw new Error(`${url}: ${response.status}`);
    await cache.put(url, response.clone());
    for (const named of namesIn(url, await response.text())) if (!wanted.includes(named)) wanted.push(named);
  }
}

/** Addresses of the files that a page or a module names. */
function namesIn(url, text) {
  const pattern = url === scope.href ? /(?:href|src)="(static\/[\w./-]+)"/g : /(?:from|import) "(\.\/[\w.]+)"/g;
  return [...text.matchAll(pattern)].map(([, name]) => new URL(name, url).href);
}

/** The service's own file if it answers in time, else the kept one. */
async function answer(request) {
  const url = new URL(request.url);
  url.hash = url.search = "";
  const asked = ask(request, url.href);
  const kept = await caches.match(url.href);
  if (!kept) return asked;
  const response = await Promise.race([asked, late()]);
  hangs = response === null;
  return response !== null && hasAnswered(response) ? response : kept;
}

async function ask(request, url) {
  const response = await fetch(request).catch(Response.error);
  if (isFile(response)) await keep(url, response.clone()).catch(() => {}); // a full disk
  return response;
}

async function keep(url, response) {
  await (await caches.open(CACHE)).put(url, response);
}

/** Resolves to null after a while; at once where the last answer was late, since a page is many files. */
function late() {
  return new Promise((resolve) => setTimeout(resolve, hangs ? 0 : PATIENCE_MS, null));
}

/** Whether the service has answered, and not a failing proxy. The browser itself follows a page's redirect to a login. */
function hasAnswered({ type, status, redirected }) {
  return type === "opaqueredirect" || (type === "basic" && status < 500 && !redirected);
}

/** Whether an answer is the file that was asked for, and not the page of a login. */
function isFile({ type, status, redirected }) {
  return type === "basic" && status === 200 && !redirected;
}

self.addEventListener("install", (event) => event.waitUntil(keepShell()));
self.addEventListener("fetch", (event) => {
  if (isShell(event.request)) event.respondWith(answer(event.request));
});
