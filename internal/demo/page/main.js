import { el, text, hide, at } from "./dom.js";
import { listen } from "./stream.js";
import { fleet } from "./fleet.js";
import { versions } from "./versions.js";
import { journey } from "./journey.js";
import { plots } from "./plots.js";
import { scores } from "./scores.js";
import { tour } from "./tour.js";

const showFleet = fleet(), showVersions = versions(), way = journey(), graph = plots(), showScores = scores(), guide = tour();
const most = 30; // lines of the log
let epoch = "", frames = 0, latest = null;

// draw shows the latest frame. Several may come between two pictures of the screen.
function draw() {
  const f = latest;
  latest = null;
  showFleet(f);
  showVersions(f);
  way.update(f);
  graph.draw();
  showScores(f);
  document.documentElement.dataset.frames = String(frames);
}

function note(n) {
  text(at("now"), n.text);
  const log = at("log");
  log.prepend(el("li", {}, el("time", {}, new Date(n.t).toLocaleTimeString("en-GB")), el("span", {}, n.text),
    el("b", {}, n.guarantee || "")));
  while (log.children.length > most) log.lastChild.remove();
}

listen({
  hello(h) {
    if (epoch && epoch !== h.epoch) {
      at("log").replaceChildren();
      graph.restart();
      guide.restart();
      text(at("now"), "The server has restarted.");
    }
    epoch = h.epoch;
    way.restart(epoch);
    guide.hello(h);
  },
  frame(f) {
    frames++;
    graph.add(f);
    if (!latest) requestAnimationFrame(draw);
    latest = f;
  },
  note,
  tour: (r) => guide.update(r),
  lost: (is) => hide(at("lost"), !is),
});
