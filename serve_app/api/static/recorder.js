/** Recordings of the microphone. */

const MOST_RECORDED_S = 120; // the service uses no more of it

/** Whether this browser records: it gives the microphone to pages over HTTPS and to those of this machine. */
export const canRecord = Boolean(navigator.mediaDevices && globalThis.MediaRecorder);

let recorder = null; // while it records
let recorded = Promise.resolve(); // until the recording has ended

export function isRecording() {
  return recorder !== null;
}

/** Ends a recording, and waits until it has been handed over. */
export async function finish() {
  recorder?.stop();
  await recorded;
}

/**
 * Records until `finish`. take(blob): gets the recording; tell(seconds): its length, every second. Throws if the
 * microphone is refused.
 */
export async function start(take, tell) {
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  const started = new MediaRecorder(microphone);
  const parts = [];
  let seconds = 0;
  const clock = setInterval(() => tell(++seconds), 1_000);
  const end = setTimeout(() => started.stop(), 1_000 * MOST_RECORDED_S);
  started.ondataavailable = (event) => parts.push(event.data);
  recorded = new Promise((resolve) => {
    started.onstop = async () => {
      clearTimeout(end);
      clearInterval(clock);
      for (const track of microphone.getTracks()) track.stop();
      recorder = null;
      await take(new Blob(parts, { type: started.mimeType }));
      resolve();
    };
  });
  started.start();
  recorder = started;
}
