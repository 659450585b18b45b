// Text from the warehouse only ever becomes text nodes and attributes here: nothing of it is parsed as HTML.
const make = (tag, name, text) => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text != null) element.append(String(text));
  return element;
};

// the text, with the searched words marked; scripts without spaces have no edges of words
const marked = (element, text, words) => {
  const edge = "[\\p{L}\\p{M}\\p{N}]", whole = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Thai}]/u;
  const forms = [...words].sort((a, b) => b.length - a.length).map((word) => {
    const plain = word.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&").replace(/\s+/g, "\\s+");
    return whole.test(word) ? plain : `(?<!${edge})${plain}(?!${edge})`;
  });
  let at = 0;
  for (const found of forms.length ? text.matchAll(new RegExp(forms.join("|"), "giu")) : []) {
    element.append(text.slice(at, found.index), make("mark", "", found[0]));
    at = found.index + found[0].length;
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
