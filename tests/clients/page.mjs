// A page with one unmodified client library: /page?library=…&options=… . Its test gives it `say`, and calls `order`.
import { withCometd, withEventSource, withFaye } from "/clients/libraries.mjs";

const asked = new URLSearchParams(location.search);
const library = asked.get("library");
const options = JSON.parse(asked.get("options"));
const say = (event, more = {}) => window.say({ event, ...more });
let client;
if (library === "cometd") {
  const modules = await import("/npm/cometd/cometd.js");
  client = withCometd(modules, options, say);
} else if (library === "EventSource") {
  client = withEventSource(options, say);
} else {
  client = withFaye(window.Faye, options, say);
}
window.order = (order) => client[order.do](order);
say("ready");
