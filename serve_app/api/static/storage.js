/** Storage of this browser. What it refuses to keep, as where site data is blocked, lives as long as the page. */

export const ofTab = tolerant(() => sessionStorage);
export const ofBrowser = tolerant(() => localStorage);

function tolerant(storage) {
  const refused = new Map();
  return {
    get(name) {
      if (refused.has(name)) return refused.get(name);
      try {
        return storage().getItem(name);
      } catch {
        return null;
      }
    },
    set(name, value) {
      try {
        storage().setItem(name, value);
        refused.delete(name);
      } catch {
        refused.set(name, value);
      }
    },
  };
}
