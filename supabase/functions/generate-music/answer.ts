/** The answer with a track. */

import { json, SOURCE_TYPE } from "../_shared/answers.ts";
import type { Track } from "./service.ts";

export function success(prompt: string, track: Track): Response {
  const published = ["small", "medium", "large", "melody"].includes(track.model);
  const title = track.model.charAt(0).toUpperCase() + track.model.slice(1);
  const headers: Record<string, string> = track.source_type ? { [SOURCE_TYPE]: track.source_type } : {};
  const body = {
    success: true,
    audioUrl: `data:audio/${track.format};base64,${track.audio_base64}`,
    prompt,
    metadata: {
      model: published ? `AudioCraft MusicGen ${title} (Meta Research)` : `MusicGen ${title}`,
      version: published ? `facebook/musicgen-${track.model}` : `musicgen-${track.model}`,
      model_size: track.model,
      decoder: track.decoder,
      duration: track.duration,
      status: "generated",
      format: track.format,
      size: track.size_bytes,
      framework: "AudioCraft (Ray Serve)",
      generation_time_seconds: track.generation_time_seconds,
    },
  };
  return json(200, body, headers);
}
