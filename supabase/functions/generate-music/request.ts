/** Schema of requests of the front end. */

import { z } from "zod";
import { BadRequest } from "../_shared/errors.ts";
import { isMelody } from "./melody.ts";

const text = (max: number) => z.string().max(max);

const requestSchema = z
  .object({
    id: z.uuid().optional(),
    mood: text(100).min(1).optional(),
    energy: z.union([text(50), z.number().min(0).max(10)]).optional(),
    genres: z.array(text(100)).min(1).max(10).optional(),
    tempo_bpm: z.number().min(40).max(300).optional(),
    description: text(500).optional(),
    setting: text(200).optional(),
    time_of_day: text(50).optional(),
    visualElements: z
      .object({
        colors: z.array(text(50)).max(10).optional(),
        instruments: z.array(text(100)).max(50).optional(),
        setting: text(200).optional(),
        timeOfDay: text(50).optional(),
        atmosphere: text(200).optional(),
      })
      .optional(),
    model: z.enum(["small", "medium", "large", "melody"]).default("small"),
    decoder: z.enum(["default", "multiband_diffusion"]).default("default"),
    duration: z.number().min(1).max(30).default(30),
    temperature: z.number().min(0.1).max(2).default(1),
    customPrompt: text(500).optional(),
    styleLevel: z.number().min(0).max(10).default(5),
    vocalType: z.enum(["instrumental", "minimal-vocals", "vocal-focused"]).default("instrumental"),
    melody: z.string().refine(isMelody, {
      message: "Must be a data URL of an audio file, or the path of one in the bucket tracks",
    }).optional(),
  })
  .superRefine((request, context) => {
    if (request.customPrompt?.trim()) return;
    for (const field of ["mood", "genres"] as const) {
      if (request[field] === undefined) {
        context.addIssue({
          code: "custom",
          path: [field],
          message: "Required, unless customPrompt is given",
        });
      }
    }
  });

export type MusicRequest = z.infer<typeof requestSchema>;

export function parseRequest(body: unknown): MusicRequest {
  const result = requestSchema.safeParse(body);
  if (result.success) return result.data;
  const details = result.error.issues.map((issue) => `${issue.path.join(".") || "body"}: ${issue.message}`);
  throw new BadRequest(details.join("; "));
}
