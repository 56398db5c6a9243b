// Pointing at values: by mouse, by finger, and by keyboard (Tab to a plot, arrow keys within it).
"use strict";
const says = document.getElementById("says");
const tell = (mark) => {
  says.textContent = mark ? mark.dataset.says : "";
  says.hidden = !mark;
};
for (const plot of document.querySelectorAll("figure > svg")) {
  const marks = [...plot.querySelectorAll(".mark")];
  marks.forEach((mark, place) => {
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", mark.dataset.says);
    mark.setAttribute("tabindex", place === 0 ? "0" : "-1");
    // The script tells it; the browser need not tell it again.
    mark.querySelector("title").remove();
    mark.addEventListener("pointerenter", () => tell(mark));
    mark.addEventListener("pointerleave", () => tell(null));
    mark.addEventListener("focus", () => tell(mark));
    mark.addEventListener("blur", () => tell(null));
  });
  plot.addEventListener("keydown", (event) => {
    const here = marks.indexOf(document.activeElement);
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const there = event.key === "Home" ? 0 : event.key === "End" ? marks.length - 1 : here + step;
    if (here < 0 || !marks[there]) return;
    event.preventDefault();
    marks[here].setAttribute("tabindex", "-1");
    marks[there].setAttribute("tabindex", "0");
    marks[there].focus();
  });
}
