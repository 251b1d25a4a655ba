/** The types for pages are those of the functions. */

import type * as contract from "../example/contract.ts";
import type { Row, Status } from "../functions/_shared/tracks.ts";
import type { parseRequest } from "../functions/generate-music/request.ts";

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
type Parsed = ReturnType<typeof parseRequest>;

// A pair that differs fails the type check.
const statuses: Same<contract.Status, Status> = true;
const columns: Same<keyof contract.TrackRow, keyof Row | "created_at" | "updated_at"> = true;
const fields: Same<keyof contract.MusicRequest, keyof Parsed> = true;
const values: Same<Required<contract.MusicRequest>, Required<Parsed>> = true;

Deno.test("the types for pages are those of the functions", () => {
  for (const same of [statuses, columns, fields, values]) if (!same) throw new Error();
});
