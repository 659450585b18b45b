// Text from the warehouse only ever becomes text nodes and attributes here: nothing of it is parsed as HTML.
const make = (tag, name, ...children) => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children.filter((child) => child != null && child !== ""));
  return element;
};
const HUES = [200, 28, 128, 318, 62, 0, 260, 165];
const percent = (share) => `${share * 100}%`;

const image = (address, title) => {
  if (!address) return make("span", "cv-gap", "No picture");
  const picture = make("img");
  picture.referrerPolicy = "no-referrer";
  picture.alt = title;
  picture.onerror = () => picture.replaceWith(make("span", "cv-gap", "Picture not reachable"));
  picture.src = address;
  return picture;
};

const said = (frame) => frame.captions.find(({ text }) => text)?.text;

const pairs = (rows) =>
  make("dl", "cv-pairs", ...rows.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));

const section = (title, ...children) => make("section", "", make("h3", "", title), ...children);

const SVG = "http://www.w3.org/2000/svg";
// an outline in shares of the picture, stretched over it; its line stays as thick as it is
const drawn = (points) => {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "cv-outline");
  svg.setAttribute("viewBox", "0 0 1 1");
  svg.setAttribute("preserveAspectRatio", "none");
  for (const kind of ["cv-halo", "cv-line-of"]) {
    const polygon = document.createElementNS(SVG, "polygon");
    polygon.setAttribute("class", kind);
    polygon.setAttribute("points", points.map(([x, y]) => `${x},${y}`).join(" "));
    polygon.setAttribute("vector-effect", "non-scaling-stroke");
    svg.append(polygon);
  }
  return svg;
};

// one frame: its picture with the outlines over it, and beside it its captions and objects
const show = (view, data, number) => {
  const frame = data.frames[number];
  const stage = make("div", "cv-stage", image(frame.picture, said(frame) ?? data.title));
  if (frame.ratio) {
    stage.style.aspectRatio = frame.ratio;
    stage.style.setProperty("--ratio", frame.ratio);
  }
  const seen = make("ul", "cv-seen");
  frame.objects.forEach((thing, place) => {
    const label = thing.label ?? "unnamed";
    const entry = make("li", thing.outline ? "" : "cv-unplaced", label);
    entry.style.setProperty("--hue", HUES[place % HUES.length]);
    seen.append(entry);
    if (!thing.outline) return;
    const name = make("span", "", label);
    const top = Math.min(...thing.outline.map(([, y]) => y));
    // the label stands on the outline's highest corner, or below it at the top of the picture
    const corner = thing.outline.find(([, y]) => y === top);
    name.style.left = percent(corner[0]);
    name.style.top = percent(top);
    if (top < 0.08) name.classList.add("cv-low");
    if (corner[0] > 0.75) name.classList.add("cv-left");
    const found = make("div", "cv-found", drawn(thing.outline), name);
    found.style.setProperty("--hue", HUES[place % HUES.length]);
    stage.append(found);
    entry.onmouseenter = () => stage.classList.add("cv-one") || found.classList.add("cv-on");
    entry.onmouseleave = () => stage.classList.remove("cv-one") || found.classList.remove("cv-on");
  });
  if (data.video) {
    const play = make("button", "cv-play", "▶ Play");
    play.type = "button";
    play.onclick = () => stage.replaceChildren(player(view, data, frame));
    stage.append(play);
  }
  view.querySelector(".cv-stage").replaceWith(stage);
  describe(view, data, number, seen);
};

// the video in place of the frame; the captions and objects beside it follow the moment
const player = (view, data, frame) => {
  const video = make("video");
  video.controls = video.autoplay = video.playsInline = true;
  video.onloadedmetadata = () => { video.currentTime = frame.second ?? 0; };
  video.onerror = () => video.replaceWith(make("span", "cv-gap", "Video not reachable, or of a kind that this browser does not play"));
  let described = -1;
  video.ontimeupdate = () => {
    const number = data.frames.findLastIndex((one) => one.second != null && one.second <= video.currentTime + 0.05);
    if (number < 0 || number === described) return;
    described = number;
    describe(view, data, number, make("ul", "cv-seen", ...data.frames[number].objects.map((thing) =>
      make("li", "cv-unplaced", thing.label ?? "unnamed"))));
  };
  video.src = data.video;
  return video;
};

// what happened to the captions of a frame, newest first; words that were removed and added are marked
const SHOWN = 8;
const history = (entries) => {
  const list = (some) => make("ol", "cv-history", ...some.map(({ what, at, by, words }) =>
    make("li", "",
      make("p", "", make("strong", "", what), make("span", "cv-mute", [at, by].filter(Boolean).join(", "))),
      make("p", "cv-words", ...words.map(([kind, text]) => (kind ? make(kind, "", text) : text))))));
  const earlier = entries.slice(SHOWN);
  return [list(entries.slice(0, SHOWN)),
    earlier.length ? make("details", "", make("summary", "", `${earlier.length} earlier`), list(earlier)) : null];
};

// what is known of a frame, beside it
const describe = (view, data, number, seen) => {
  const frame = data.frames[number];
  view.querySelector(".cv-said").replaceChildren(
    section(
      frame.at ? `Captions · ${frame.at}` : "Captions",
      ...(frame.captions.length
        ? frame.captions.map(({ text, by }) =>
            make("blockquote", "", make("p", "", text ?? "(no text)"), make("footer", "", by)))
        : [make("p", "cv-mute", "No caption yet.")]),
    ),
    ...(frame.history.length ? [section("Captions over time", ...history(frame.history))] : []),
    ...(frame.objects.length ? [section("Detected", seen)] : []),
    ...(frame.text ? [section("Text", make("p", "cv-text", frame.text))] : []),
  );
  for (const [place, entry] of view.querySelectorAll(".cv-strip button, .cv-tick").entries())
    entry.toggleAttribute("aria-current", place % data.frames.length === number);
};

const timeline = (view, data) => {
  const choose = (number) => () => {
    show(view, data, number);
    view.querySelectorAll(".cv-strip button")[number]?.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  const strip = make("div", "cv-strip");
  data.frames.forEach((frame, number) => {
    const button = make("button", "", image(frame.thumb, said(frame) ?? `Frame ${number + 1}`), make("span", "", frame.at));
    button.type = "button";
    button.onclick = choose(number);
    strip.append(button);
  });
  const line = make("div", "cv-line");
  const end = data.duration ?? Math.max(...data.frames.map((frame) => frame.second ?? 0));
  if (end > 0 && data.frames.some((frame) => frame.second != null)) {
    for (const [number, frame] of data.frames.entries()) {
      const tick = make("button", "cv-tick");
      tick.type = "button";
      tick.title = frame.at ?? "";
      tick.style.left = percent(Math.min(Math.max((frame.second ?? 0) / end, 0), 1));
      tick.onclick = choose(number);
      line.append(tick);
    }
    return make("div", "cv-time", strip, line, make("div", "cv-ends", make("span", "", "0 s"), make("span", "", `${end.toFixed(1)} s`)));
  }
  return make("div", "cv-time", strip);
};

// a link that Streamlit follows without loading the page again, and that can be opened in a tab of its own
const way = (text, title, href, follow) => {
  const link = make("a", "", text);
  if (!href) {
    link.ariaDisabled = "true";
    return link;
  }
  link.href = href;
  if (title) link.title = title;
  link.onclick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    follow();
  };
  return link;
};

const ways = ({ gallery, previous, next }, trigger) => {
  const beside = (text, item) => way(
    text, item?.title, item && `media?${new URLSearchParams(item.names)}`, () => trigger("opened", item.names));
  return make("nav", "cv-ways",
    way("← Gallery", "", `./?${new URLSearchParams(gallery)}`, () => trigger("left", true)),
    beside("‹ Previous", previous),
    beside("Next ›", next));
};

export default function ({ data, parentElement, setTriggerValue }) {
  const head = make("header", "", make("h2", "", data.title), make("p", "cv-mute", data.collection));
  if (data.file) {
    const file = make("a", "cv-file", "Open the file");
    file.href = data.file;
    file.target = "_blank";
    file.rel = "noopener noreferrer";
    head.append(file);
  }
  const facts = make("div", "cv-facts");
  if (data.tags.length)
    facts.append(section("Tags", make("ul", "cv-tags", ...data.tags.map(([group, tag]) =>
      make("li", "", make("span", "", group), tag)))));
  facts.append(section("Facts", pairs(data.facts)));
  if (data.exif.length) facts.append(section("Exif", pairs(data.exif)));
  for (const [name, text] of data.json)
    facts.append(make("details", "", make("summary", "", name), make("pre", "", text)));
  const view = make("div", "cv-media", ways(data.ways, setTriggerValue), head, make("div", "cv-stage"), make("div", "cv-said"));
  if (data.frames.length > 1) view.querySelector(".cv-stage").after(timeline(view, data));
  view.append(facts);
  const old = parentElement.querySelector(":scope > .cv-media");
  if (old) old.replaceWith(view);
  else parentElement.append(view);
  show(view, data, data.first);
  const strip = view.querySelector(".cv-strip");
  if (strip) strip.scrollLeft = strip.children[data.first].offsetLeft - strip.children[0].offsetLeft;
}
