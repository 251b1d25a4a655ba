/** Tracks of this and earlier visits, in the browser's IndexedDB. */

const NAME = "musicgen";
const STORE = "tracks";
const MOST_TRACKS = 60; // besides the favourites, as below
const MOST_BYTES = 400 * 2 ** 20;

let opening = null; // promise of the database

function open() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

/** Runs an operation of the store, and returns its result once the transaction has ended. */
async function within(mode, act) {
  const transaction = (await open()).transaction(STORE, mode);
  const request = act(transaction.objectStore(STORE));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => reject(transaction.error ?? new DOMException("The browser has given up", "AbortError"));
  });
}

/** All tracks, the newest first. */
export async function all() {
  const tracks = await within("readonly", (store) => store.getAll());
  return tracks.sort((a, b) => b.createdAt - a.createdAt);
}

/** Adds or replaces a track. Returns those that made room for it: [{ id, jobId }] */
export async function put(track) {
  let removed = [];
  await within("readwrite", (store) => {
    const request = store.put(track);
    readSizes(store, (sizes) => {
      removed = surplus(sizes, track.id);
      for (const { id } of removed) store.delete(id);
    });
    return request;
  });
  return removed;
}

export function remove(id) {
  return within("readwrite", (store) => store.delete(id));
}

/** Reads what bounds the store, one track at a time: tell([{ id, jobId, createdAt, isFavourite, bytes }]). */
function readSizes(store, tell) {
  const sizes = [];
  store.openCursor().onsuccess = ({ target: { result: cursor } }) => {
    if (cursor === null) return tell(sizes);
    const { id, jobId, createdAt, isFavourite } = cursor.value;
    sizes.push({ id, jobId, createdAt, isFavourite, bytes: bytesOf(cursor.value) });
    cursor.continue();
  };
}

/** Size of a track's file, and of the sounds that it was made from. */
function bytesOf({ file, fields }) {
  const texts = Object.values(fields).filter((value) => typeof value === "string");
  return texts.reduce((bytes, text) => bytes + text.length, file.size);
}

/** The oldest tracks beyond the bounds. Favourites do not count, and the one just added stays. */
function surplus(sizes, added) {
  let count = 0;
  let bytes = 0;
  return sizes.filter((one) => !one.isFavourite).sort((a, b) => b.createdAt - a.createdAt).filter((one) => {
    count += 1;
    bytes += one.bytes;
    return (count > MOST_TRACKS || bytes > MOST_BYTES) && one.id !== added;
  });
}
