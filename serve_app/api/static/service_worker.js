/** Keeps the page and its files, so that it opens without a connection. The service's answers are never kept. */

const CACHE = "musicgen-shell";
const SHELL = ["./"]; // and what the page of the service names
const FOLDER = "static/";

const scope = new URL(self.registration.scope);

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
    if (!response.ok) throw new Error(`${url}: ${response.status}`);
    await cache.put(url, response.clone());
    for (const named of namesIn(url, await response.text())) if (!wanted.includes(named)) wanted.push(named);
  }
}

/** Addresses of the files that a page or a module names. */
function namesIn(url, text) {
  const pattern = url === scope.href ? /(?:href|src)="(static\/[\w./-]+)"/g : /(?:from|import) "(\.\/[\w.]+)"/g;
  return [...text.matchAll(pattern)].map(([, name]) => new URL(name, url).href);
}

/** The service's own file if it answers, else the kept one. */
async function answer(request) {
  const url = new URL(request.url);
  url.hash = url.search = "";
  const response = await fetch(request).catch(Response.error);
  const hasAnswered = response.type !== "error" && response.status < 500;
  if (!hasAnswered) return await caches.match(url.href) ?? response;
  if (response.status === 200) await keep(url.href, response.clone()).catch(() => {}); // a full disk
  return response;
}

async function keep(url, response) {
  await (await caches.open(CACHE)).put(url, response);
}

self.addEventListener("install", (event) => event.waitUntil(keepShell()));
self.addEventListener("fetch", (event) => {
  if (isShell(event.request)) event.respondWith(answer(event.request));
});
