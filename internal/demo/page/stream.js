// The server's events. The browser's EventSource connects again by itself, and says which event it has seen last; it
// gives up only after an answer that is an error, and then this module begins with a fresh one.

export function listen(handlers) {
  let last = "";
  const begin = () => {
    const query = new URLSearchParams();
    const rate = new URLSearchParams(location.search).get("rate");
    if (rate) query.set("rate", rate);
    if (last) query.set("after", last);
    const source = new EventSource("events?" + query);
    for (const kind of ["hello", "frame", "note", "tour"]) {
      source.addEventListener(kind, (e) => {
        if (e.lastEventId) last = e.lastEventId;
        handlers[kind](JSON.parse(e.data));
      });
    }
    source.addEventListener("open", () => handlers.lost(false));
    source.addEventListener("error", () => {
      handlers.lost(true);
      if (source.readyState === EventSource.CLOSED) setTimeout(begin, 1000);
    });
  };
  begin();
}
