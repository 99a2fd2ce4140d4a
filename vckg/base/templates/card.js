/* The metagraph: a click on a disc, a button or a table row highlights the relations of a category. */
(() => {
  const drawing = document.getElementById("metagraph");
  const table = document.getElementById("kinds");
  const choose = document.getElementById("choose");
  const ribbons = Array.from(drawing.querySelectorAll(".ribbon"));
  const discs = Array.from(drawing.querySelectorAll(".disc"));
  const rows = Array.from(table.tBodies[0].rows);
  const caption = document.getElementById("kinds-caption");
  const everything = caption.textContent;
  let chosen = null;

  const joins = (element, a, b) => element.dataset.subject === a && element.dataset.object === b;
  const touches = (element, category) => element.dataset.subject === category || element.dataset.object === category;

  function follow(isNear) {
    const near = new Set();
    for (const ribbon of ribbons) {
      const hit = isNear !== null && isNear(ribbon);
      ribbon.classList.toggle("near", hit);
      if (hit) near.add(ribbon.dataset.subject).add(ribbon.dataset.object);
    }
    for (const disc of discs) disc.classList.toggle("near", near.has(disc.dataset.category));
    drawing.classList.toggle("following", isNear !== null);
  }

  function rest() {
    follow(chosen === null ? null : (ribbon) => touches(ribbon, chosen));
    let shown = 0;
    for (const row of rows) {
      row.hidden = chosen !== null && !touches(row, chosen);
      shown += row.hidden ? 0 : 1;
    }
    caption.textContent = chosen === null ? everything : `${shown} kinds of edge touch ${chosen}`;
    for (const button of choose.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.value === (chosen || "")));
  }

  function pick(category) {
    chosen = chosen === category || category === "" ? null : category;
    rest();
  }

  const names = discs.map((disc) => disc.dataset.category);
  for (const name of ["", ...names]) {
    choose.append(page.el("button", { type: "button", value: name, "aria-pressed": "false", onclick: () => pick(name) }, name || "everything"));
  }
  choose.hidden = false;
  choose.setAttribute("role", "group");
  choose.setAttribute("aria-labelledby", "choose-label");
  for (const disc of discs) {
    disc.addEventListener("click", () => pick(disc.dataset.category));
    disc.addEventListener("pointerenter", () => follow((ribbon) => touches(ribbon, disc.dataset.category)));
    disc.addEventListener("pointerleave", rest);
  }
  for (const row of rows) {
    row.addEventListener("pointerenter", () => follow((ribbon) => joins(ribbon, row.dataset.subject, row.dataset.object)));
    row.addEventListener("pointerleave", rest);
  }
  rest();
})();
