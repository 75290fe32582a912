"use strict";

// Sorting: a column's button sorts upwards, then downwards; what has no value stays at the end.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const status = table.closest(".scroll").nextElementSibling;
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const isText = head.dataset.kind === "text";
      const keyOf = (row) => {
        const cell = row.cells[column];
        if (isText) return cell.textContent.trim();
        return cell.dataset.key === "" ? null : Number(cell.dataset.key);
      };
      const rows = [...body.rows].map((row) => [keyOf(row), row]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        const order = isText ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
        return up ? order : -order;
      });
      body.append(...rows.map(([, row]) => row));
      status.textContent = `Sorted by ${button.textContent.trim()}, ${up ? "ascending" : "descending"}.`;
    });
  });
}

// Players: one at a time; another version of the same clip goes on from the same place.
const keep = document.getElementById("keep");
for (const clip of document.querySelectorAll(".clip")) {
  const players = [...clip.querySelectorAll("audio")];
  let last = null;
  for (const player of players) {
    const frame = player.closest(".version").querySelector(".spectrogram");
    const cursor = frame.querySelector(".cursor");
    let jumpedTo = null;
    const move = () => {
      cursor.style.left = `${(100 * player.currentTime) / (player.duration || 1)}%`;
      if (!player.paused) requestAnimationFrame(move);
    };
    player.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) if (other !== player) other.pause();
      const goesOn = keep.checked && last && last !== player && !last.ended && !player.dataset.sought;
      if (goesOn) {
        jumpedTo = Math.min(last.currentTime, player.duration || Infinity);
        player.currentTime = jumpedTo;
      }
      last = player;
      for (const other of players) delete other.dataset.sought;
      for (const other of clip.querySelectorAll(".playing")) other.classList.remove("playing");
      player.closest(".version").classList.add("playing");
      move();
    });
    player.addEventListener("seeked", () => {
      // Where the listener went by hand, playing starts.
      if (player.currentTime !== jumpedTo && player.paused) player.dataset.sought = "yes";
      move();
    });
    for (const event of ["pause", "ended"]) player.addEventListener(event, () => player.closest(".version").classList.remove("playing"));
    frame.addEventListener("click", (event) => {
      const box = frame.getBoundingClientRect();
      player.currentTime = ((event.clientX - box.left) / box.width) * player.duration;
      player.dataset.sought = "yes";
      player.play();
    });
  }
}
document.documentElement.classList.add("scripted");
