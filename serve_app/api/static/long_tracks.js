/** Tracks that are made as durable jobs: they survive a reload, and come back at the next visit. */

import * as client from "./client.js";
import * as jobs from "./jobs.js";
import * as now from "./now.js";
import * as settings from "./settings.js";
import * as wav from "./wav.js";

const MOST = 10; // tracks of earlier visits at a time
const SOUNDS = ["melody", "audio_prompt"]; // fields of files
const ATTEMPTS = 10; // at the file of one of them, before the next one

export class LongTracks {
  #known = new Set(); // ids of jobs that are shown or followed
  #looking = null; // promise of the search for earlier tracks

  /**
   * load(): loads the sampling parameters; keep(fields, made, file, place): adds a finished track at the "top" or
   * the "end"; fail(error): tells why an earlier one is missing; offer(hasMore): tells whether further earlier ones may be shown.
   */
  constructor({ load, keep, fail, offer }) {
    Object.assign(this, { load, keep, fail, offer });
  }

  /** Takes note of jobs whose tracks are shown. */
  know(ids) {
    for (const id of ids) this.#known.add(id);
  }

  /** Makes a track. A submission whose answer is lost is repeated: its key makes one job of both. */
  async make(wanted, task) {
    const key = client.idempotencyKey();
    const submit = () => client.submit(wanted, key, task.signal);
    const job = await jobs.persistently(submit, jobs.isLost, (state) => tell(task, state), task.signal);
    jobs.remember(job.id);
    await this.#finish(job.id, task, wanted);
  }

  /** Adds the tracks of earlier visits while the page does other things; those that are not finished, later. */
  showEarlier() {
    return this.#look((id) => this.#known.has(id));
  }

  /** Adds the next ones, beside those that are shown. */
  showMore() {
    return this.#look(() => false);
  }

  /** Looks for earlier tracks, once at a time. counts(id): whether one that is shown counts among MOST. */
  #look(counts) {
    this.#looking ??= this.#lookForEarlier(counts).catch(this.fail).finally(() => {
      this.#looking = null;
    });
    return this.#looking;
  }

  async #lookForEarlier(counts) {
    const ids = jobs.remembered().reverse();
    if (ids.length > 0) await unseen(this.load); // without the names, the tracks would lack their fields
    let count = 0;
    for (const id of ids) {
      if (count === MOST) break;
      if (this.#known.has(id) ? counts(id) : await this.#addEarlier(id)) count += 1;
    }
    this.offer(count === MOST && ids.some((id) => !this.#known.has(id)));
  }

  /** Adds a track, or follows its job. Returns false for one without a file. Throws the refusal of a key. */
  async #addEarlier(id) {
    try {
      const job = await unseen(() => client.job(id, 0));
      if (jobs.hasEnded(job)) await this.#add(job, (ask) => unseen(ask, ATTEMPTS), true);
      else this.#resume(id);
      return true;
    } catch (error) {
      if (error.status === 401) throw error;
      return false;
    }
  }

  async #resume(id) {
    const task = now.begin("Looking for your track", true);
    try {
      await this.#finish(id, task);
      now.end(task, "Done.");
    } catch (error) {
      now.end(task);
      this.fail(error);
    }
  }

  /** Follows a job to its end and adds its track. sounds: that it was made from, where the page has them. */
  async #finish(id, task, sounds) {
    this.#known.add(id);
    const show = (state) => tell(task, state);
    let job = null;
    try {
      job = await jobs.follow(id, show, task.signal);
      await this.#add(job, (ask) => jobs.persistently(ask, jobs.isPassing, show, task.signal), false, sounds);
    } catch (error) {
      this.#known.delete(id);
      if (job === null && (error.name === "AbortError" || isGone(error))) jobs.forget(id);
      throw error;
    }
  }

  /** Fetches the file of an ended job and adds its track. A job without a file is forgotten. */
  async #add(job, ask, isEarlier, sounds = {}) {
    try {
      check(job);
      const bytes = await ask(() => client.jobFile(job.id));
      const names = ["prompt", "duration_s", ...settings.samplingNames()];
      const fields = Object.fromEntries(names.map((name) => [name, job.request[name]]));
      const used = SOUNDS.filter((name) => job.request[name]);
      for (const name of used) fields[name] = sounds[name];
      const isRepeatable = used.every((name) => sounds[name]);
      const file = { ...wav.read(bytes), file: wav.blob(bytes), isRepeatable, jobId: job.id };
      this.keep({ ...fields, model: job.model }, job.result[0], file, isEarlier ? "end" : "top");
      this.#known.add(job.id);
    } catch (error) {
      if (job.status !== "succeeded" || isGone(error)) jobs.forget(job.id);
      throw error;
    }
  }
}

/** Asks until there is an answer, at most so often, without a word. */
function unseen(ask, attempts = Infinity) {
  let left = attempts;
  const isToRepeat = (error) => jobs.isPassing(error) && --left > 0;
  return jobs.persistently(ask, isToRepeat, () => {}, new AbortController().signal);
}

function isGone(error) {
  return error.status === 404 || error.status === 410;
}

/** Tells the state of a job; null: the service cannot be reached. */
function tell(task, job) {
  if (job === null) return now.tell(task, "The service cannot be reached: trying again", null);
  const left = job.eta_s === null ? "" : `, about ${Math.ceil(job.eta_s)} s left`;
  if (job.status !== "queued") now.tell(task, `Making the track: ${job.audio_s.toFixed(1)} s${left}`, job.progress);
  else now.tell(task, `Waiting: number ${job.queue_position ?? 1} in the queue${left}`, null);
}

/** Throws for a job without a file. */
function check(job) {
  if (job.status === "canceled") throw new DOMException("The job was canceled", "AbortError");
  if (job.status === "failed") throw new client.ApiError(job.error.status, job.error.detail, null, job.error.code);
  if (!job.result[0].url) throw new client.ApiError(410, "The file of this track has been deleted.", null);
}
