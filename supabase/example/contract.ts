/** Types of the functions' contract with a page. */

/** Body of `generate-music`. With an `id`, which the page draws, the track is made while the page goes on. */
export interface MusicRequest {
  id?: string;
  /** Required, unless customPrompt is given. */
  mood?: string;
  /** Required, unless customPrompt is given. */
  genres?: string[];
  /** `High`, `Medium`, `Low`, free text, or a number from 0 to 10. */
  energy?: string | number;
  tempo_bpm?: number;
  description?: string;
  setting?: string;
  time_of_day?: string;
  visualElements?: {
    colors?: string[];
    instruments?: string[];
    setting?: string;
    timeOfDay?: string;
    atmosphere?: string;
  };
  model?: "small" | "medium" | "large" | "melody";
  decoder?: "default" | "multiband_diffusion";
  /** Seconds, 1 to 30. */
  duration?: number;
  temperature?: number;
  customPrompt?: string;
  styleLevel?: number;
  vocalType?: "instrumental" | "minimal-vocals" | "vocal-focused";
  /**
   * Audio whose melody the track follows, for models that take one: a data URL (without an `id`), or the path of a file
   * in the user's folder of the bucket `tracks`, such as `USER/melodies/hummed.m4a`.
   */
  melody?: string;
}

/** Answer (200) to a request without an id. */
export interface Track {
  success: true;
  audioUrl: string;
  prompt: string;
  metadata: {
    model: string;
    version: string;
    model_size: string;
    decoder: string;
    duration: number;
    status: "generated";
    format: string;
    size: number;
    framework: string;
    generation_time_seconds: number;
  };
}

/** Answer (202) to a request with an id, and (200) of `cancel-music`. */
export interface Accepted {
  success: true;
  id: string;
  status: Status;
}

/** Every other answer. */
export interface Failure {
  success: false;
  error: string;
  details: string;
  retryable: boolean;
}

export type Status = "queued" | "running" | "ready" | "failed" | "canceled";

/** Row of the table `tracks`, as its user reads it. progress: 0 to 1; path: in the bucket `tracks`. */
export interface TrackRow {
  id: string;
  user_id: string;
  request: MusicRequest;
  prompt: string;
  status: Status;
  progress: number;
  job_id: string | null;
  path: string | null;
  error: string | null;
  created_at: string;
  updated_at: string;
}
