/** The page as an application: installed, and opened without a connection. */

if ("serviceWorker" in navigator) {
  navigator.serviceWorker.register("service-worker.js").catch((error) => console.info(error.message));
}

function draw() {
  document.getElementById("offline").hidden = navigator.onLine;
}

addEventListener("online", draw);
addEventListener("offline", draw);
draw();
