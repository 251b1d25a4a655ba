/** The melody that a track follows: a file of the user's, or a recording of the microphone. */

const MOST_RECORDED_S = 120; // the service uses no more of it

const $ = (id) => document.getElementById(id);
let chosen = null; // { name, content }: of the file, in base64
let recorder = null; // while it records
let recorded = Promise.resolve(); // until the recording has ended
let reading = Promise.resolve(); // until the chosen file has been read

/** Shows the inputs where the chosen model takes a melody. */
export function offer(isTaken) {
  $("melody-box").hidden = !isTaken;
  if (!isTaken) recorder?.stop();
  draw();
}

/** The melody in base64, once it is read; null: none, or the model takes none. Ends a recording. */
export async function content() {
  recorder?.stop();
  await recorded;
  await reading;
  return $("melody-box").hidden ? null : chosen?.content ?? null;
}

/** Chooses the melody of an earlier track; null: none. */
export function restore(base64) {
  choose(base64 === null ? null : { name: "The melody of the track", content: base64 });
}

function choose(melody) {
  chosen = melody;
  $("melody").value = "";
  draw();
}

function draw() {
  const isUsed = chosen !== null && !$("melody-box").hidden;
  $("melody-name").textContent = chosen?.name ?? "None: the track follows the prompt alone.";
  $("melody-remove").hidden = chosen === null;
  $("melody-record").textContent = recorder ? "Stop" : "Record";
  $("prompt").required = !isUsed;
}

function read(blob, name) {
  reading = new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => {
      choose({ name, content: reader.result.slice(reader.result.indexOf(",") + 1) });
      resolve();
    };
    reader.onerror = () => {
      choose(null);
      $("melody-name").textContent = `${name} cannot be read: ${reader.error.message}`;
      resolve();
    };
    reader.readAsDataURL(blob);
  });
}

async function record() {
  if (recorder) return recorder.stop();
  try {
    const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
    begin(new MediaRecorder(microphone), microphone);
  } catch (error) {
    $("melody-name").textContent = `The microphone cannot be used: ${error.message}`;
  }
}

function begin(started, microphone) {
  const parts = [];
  const end = setTimeout(() => started.stop(), 1_000 * MOST_RECORDED_S);
  started.ondataavailable = (event) => parts.push(event.data);
  recorded = new Promise((resolve) => {
    started.onstop = () => {
      clearTimeout(end);
      for (const track of microphone.getTracks()) track.stop();
      recorder = null;
      draw();
      read(new Blob(parts, { type: started.mimeType }), "Your recording");
      resolve();
    };
  });
  started.start();
  recorder = started;
  draw();
  $("melody-name").textContent = "Recording …";
}

$("melody").onchange = (event) => {
  const [file] = event.target.files;
  if (file) read(file, file.name);
};
$("melody-remove").onclick = () => choose(null);
$("melody-record").onclick = record;
// Browsers give the microphone to pages over HTTPS and to those of this machine.
$("melody-record").hidden = !navigator.mediaDevices || !globalThis.MediaRecorder;
