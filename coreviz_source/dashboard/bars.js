// Text from the warehouse only ever becomes text nodes and attributes here: nothing of it is parsed as HTML.
const make = (tag, name, ...children) => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children);
  return element;
};

const bar = ({ name, number, note, opens }, most, open) => {
  const link = make("a", "cv-bar");
  link.href = `./?${new URLSearchParams(opens)}`;
  link.title = `${name}: ${number.toLocaleString("en")}${note ? `, ${note}` : ""}`;
  link.onclick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    open(opens);
  };
  const line = make("span", "cv-length");
  line.style.setProperty("--share", number / most);
  link.append(make("span", "cv-of", name), make("span", "cv-room", line, make("span", "cv-number", number.toLocaleString("en"))));
  return link;
};

export default function ({ data, parentElement, setTriggerValue }) {
  const most = Math.max(...data.bars.map((one) => one.number), 1);
  const bars = make("div", "cv-bars", ...data.bars.map((one) => bar(one, most, (opens) => setTriggerValue("opened", opens))));
  const old = parentElement.querySelector(":scope > .cv-bars");
  if (old) old.replaceWith(bars);
  else parentElement.append(bars);
}
