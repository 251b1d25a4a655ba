// @ts-check
/** The user's tracks: the latest of them, and their changes. */

/** @typedef {import("npm:@supabase/supabase-js@2.109.0").SupabaseClient} SupabaseClient */
/** @typedef {import("./contract.ts").TrackRow} TrackRow */

const LATEST = 50;

/** @param {TrackRow} row */
export function isUnfinished(row) {
  return row.status === "queued" || row.status === "running";
}

/** Read the latest tracks, the oldest of them first. @param {SupabaseClient} supabase @returns {Promise<TrackRow[]>} */
export async function latest(supabase) {
  const query = supabase.from("tracks").select("*").order("created_at", { ascending: false });
  const { data, error } = await query.limit(LATEST);
  if (error) throw error;
  return data.reverse();
}

/**
 * Follow a track to its end; reads its row once the channel is joined, as earlier messages are missed.
 * @param {SupabaseClient} supabase @param {string} id @param {(row: TrackRow) => unknown} show
 */
export function listen(supabase, id, show) {
  const channel = supabase.channel(`track:${id}`, { config: { private: true } });
  const leave = () => supabase.removeChannel(channel);
  const read = async () => {
    const { data, error } = await supabase.from("tracks").select("*").eq("id", id).maybeSingle();
    if (error) return; // the next message reads it again
    if (data !== null) await show(data);
    if (data === null || !isUnfinished(data)) await leave();
  };
  channel.on("broadcast", { event: "*" }, read).subscribe((status) => {
    if (status === "SUBSCRIBED") read();
  });
}
