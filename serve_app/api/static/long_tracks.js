/** Tracks that are made as durable jobs: they survive a reload, and come back at the next visit. */

import * as client from "./client.js";
import * as jobs from "./jobs.js";
import * as wav from "./wav.js";

export class LongTracks {
  /** show(status, fraction): tells progress; keep(fields, made, file): adds a finished track. */
  constructor(show, keep) {
    this.show = show;
    this.keep = keep;
    this.fields = []; // names of the sampling parameters
  }

  areRemembered() {
    return jobs.remembered().length > 0;
  }

  async make(wanted, signal) {
    const job = await client.submit(wanted, signal);
    jobs.remember(job.id);
    await this.#finish(job.id, signal);
  }

  /** Shows the tracks of earlier visits, the unfinished ones when they are finished. */
  async showEarlier(signal) {
    for (const id of jobs.remembered()) {
      try {
        await this.#finish(id, signal);
      } catch (error) {
        if (signal.aborted || !(error instanceof client.ApiError)) throw error; // else it is forgotten
        if (error.status === 401) throw error;
      }
    }
  }

  /** Follows a job and keeps its track. One that was deleted, has failed or was canceled is forgotten. */
  async #finish(id, signal) {
    try {
      const job = await jobs.follow(id, (state) => this.#tell(state), signal);
      check(job);
      const bytes = await client.jobFile(id);
      const names = ["prompt", "duration_s", ...this.fields];
      const fields = Object.fromEntries(names.map((name) => [name, job.request[name]]));
      this.keep({ ...fields, model: job.model }, job.result[0], { ...wav.read(bytes), file: wav.blob(bytes) });
    } catch (error) {
      const isGone = error instanceof client.ApiError && error.status !== 401;
      if (isGone || error.name === "AbortError") jobs.forget(id);
      throw error;
    }
  }

  #tell(job) {
    if (job === null) return this.show("The service cannot be reached: trying again", null);
    const left = job.eta_s === null ? "" : `, about ${Math.ceil(job.eta_s)} s left`;
    if (job.status !== "queued") this.show(`Making music: ${job.audio_s.toFixed(1)} s${left}`, job.progress);
    else this.show(`Waiting: number ${job.queue_position ?? 1} in the queue${left}`, null);
  }
}

/** Throws for a job without a file. */
function check(job) {
  if (job.status === "canceled") throw new DOMException("The job was canceled", "AbortError");
  if (job.status === "failed") throw new client.ApiError(job.error.status, job.error.detail, null, job.error.code);
  if (!job.result[0].url) throw new client.ApiError(410, "The file of this track has been deleted.", null);
}
