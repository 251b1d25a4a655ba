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
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

/** All tracks, the newest first. */
export async function all() {
  const tracks = await within("readonly", (store) => store.getAll());
  return tracks.sort((a, b) => b.createdAt - a.createdAt);
}

/** Adds or replaces a track, and returns the ids of those that made room for it. */
export async function put(track) {
  await within("readwrite", (store) => store.put(track));
  const removed = surplus(await all(), track.id);
  for (const id of removed) await remove(id);
  return removed;
}

export function remove(id) {
  return within("readwrite", (store) => store.delete(id));
}

/** Ids of the oldest tracks beyond the bounds. Favourites do not count, and the one just added stays. */
function surplus(tracks, added) {
  let count = 0;
  let bytes = 0;
  return tracks.filter((track) => !track.isFavourite).filter((track) => {
    count += 1;
    bytes += track.file.size;
    return (count > MOST_TRACKS || bytes > MOST_BYTES) && track.id !== added;
  }).map((track) => track.id);
}
