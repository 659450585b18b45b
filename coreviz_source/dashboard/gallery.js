// Text from the warehouse only ever becomes text nodes and attributes here: nothing of it is parsed as HTML.
const make = (tag, name, text) => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text != null) element.append(String(text));
  return element;
};

// the text, with the searched words marked
const marked = (element, text, words) => {
  const lower = text.toLowerCase();
  const wanted = words.map((word) => word.toLowerCase()).filter(Boolean);
  // a language in which lower case has another length: no marks rather than wrong ones
  if (!wanted.length || lower.length !== text.length) {
    element.append(text);
    return element;
  }
  let at = 0;
  while (at < text.length) {
    let next = -1, length = 0;
    for (const word of wanted) {
      const found = lower.indexOf(word, at);
      if (found >= 0 && (next < 0 || found < next || (found === next && word.length > length))) {
        next = found;
        length = word.length;
      }
    }
    if (next < 0) break;
    element.append(text.slice(at, next), make("mark", "", text.slice(next, next + length)));
    at = next + length;
  }
  element.append(text.slice(at));
  return element;
};

const card = (item, words, open) => {
  const link = make("a", "cv-card");
  link.href = `media?${new URLSearchParams(item.names)}`;
  link.onclick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    open(item);
  };
  const frame = link.appendChild(make("div", "cv-thumb"));
  if (item.picture) {
    const picture = make("img");
    picture.loading = "lazy";
    picture.referrerPolicy = "no-referrer";
    picture.alt = item.caption ?? item.title;
    picture.onerror = () => picture.replaceWith(make("span", "cv-none", "Picture not reachable"));
    picture.src = item.picture;
    frame.append(picture);
  } else {
    frame.append(make("span", "cv-none", "No picture"));
  }
  if (item.badge) frame.append(make("span", "cv-badge", item.badge));
  if (item.flag) frame.append(make("span", "cv-badge cv-flag", item.flag));
  link.append(
    item.caption != null
      ? marked(make("p", "cv-caption"), item.caption, words)
      : make("p", "cv-caption cv-quiet", "No caption yet"),
    marked(make("p", "cv-name"), item.title, words),
  );
  const meta = link.appendChild(make("p", "cv-meta"));
  const time = make("time", "", item.created);
  time.title = item.moment;
  meta.append(make("span", "", item.collection), time);
  return link;
};

export default function ({ data, parentElement, setTriggerValue }) {
  const open = (item) => setTriggerValue("opened", item.names);
  const grid = make("div", "cv-grid");
  grid.append(...data.cards.map((item) => card(item, data.words, open)));
  const old = parentElement.querySelector(":scope > .cv-grid");
  if (old) old.replaceWith(grid);
  else parentElement.append(grid);
  // the sidebar stands before the search in the document, but the search is what people come for
  document.querySelector(".st-key-q input")?.setAttribute("tabindex", "1");
}
