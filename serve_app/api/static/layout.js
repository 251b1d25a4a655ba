/** The place of the panels: below the form where there are two columns, else behind the tracks. */

const TWO_COLUMNS = matchMedia("(min-width: 64rem)"); // as in studio.css

function place() {
  const panels = document.getElementById("panels");
  if (TWO_COLUMNS.matches) document.getElementById("making").append(panels);
  else document.getElementById("made").after(panels);
}

TWO_COLUMNS.addEventListener("change", place);
place();
