// Text from the warehouse only ever becomes text nodes and attributes here: nothing of it is parsed as HTML.
const make = (tag, name, ...children) => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children);
  return element;
};

const cell = (value) => {
  if (typeof value === "string") return make("td", /^[\d,]+$/.test(value) ? "cv-count" : "", value);
  const inside = make("span", value.kind ? `cv-outcome cv-${value.kind}-one` : "", value.text);
  if (value.title) inside.title = value.title;
  return make("td", "", inside);
};

export default function ({ data, parentElement }) {
  const table = make("table", data.heads.length ? "cv-table" : "cv-table cv-words");
  const counts = (data.rows[0] ?? []).map((value) => typeof value === "string" && /^[\d,]+$/.test(value));
  if (data.heads.length)
    table.append(make("thead", "", make("tr", "", ...data.heads.map((head, place) => make("th", counts[place] ? "cv-count" : "", head)))));
  table.append(make("tbody", "", ...data.rows.map((row) => make("tr", "", ...row.map(cell)))));
  const frame = make("div", "cv-scrolled", table);
  frame.tabIndex = 0;
  const old = parentElement.querySelector(":scope > .cv-scrolled");
  if (old) old.replaceWith(frame);
  else parentElement.append(frame);
}
