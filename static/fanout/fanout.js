import { isBehind, parse } from "./positions.js";
import { Session } from "./session.js";
import { Watch } from "./watch.js";
import { HANDSHAKE, REPLY, SUBSCRIBE } from "./words.js";
import { isHidden } from "./world.js";

// Watches that a page has waiting when it shows are called within so many milliseconds, not at once.
const SHOWN = 200;

/** What pages know as `Fanout`, but for its `make`; fanout.d.ts says what each part means. */
export function makeFanout(world) {
  const watches = new Set();
  let config = {};
  let session = null;
  let asking = null;

  if (world.document) {
    world.document.addEventListener("visibilitychange", () => {
      if (isHidden(world)) return;
      for (const watch of watches) {
        if (watch.due && !watch.timers.shown) watch.wait("shown", SHOWN * world.random(), () => watch.show());
      }
    });
  }

  function connection() {
    if (session) return session;
    const old = world.document && world.document.querySelector("fanout-config[data-client-url]");
    const url = config.url || (old && old.getAttribute("data-client-url")) || world.url || "/bayeux";
    session = new Session(world, url, () => watches.forEach((watch) => watch.schedule()));
    session.extensions.push({ outgoing: showToken });
    return session;
  }

  // What the page shows of itself: asked for once for all that goes out at the same moment, null without one.
  function askToken() {
    const { token } = config;
    if (typeof token !== "function") return Promise.resolve(token || null);
    if (!asking) {
      asking = new Promise((resolve, reject) => {
        const timer = world.later(() => reject(new Error("Fanout: no token after 10 s")), REPLY);
        Promise.resolve().then(token).finally(() => world.cancel(timer)).then(resolve, reject);
      });
      const done = () => { asking = null; };
      asking.then(done, done);
    }
    return asking;
  }

  function showToken(message, pass) {
    if (!config.token || (message.channel !== HANDSHAKE && message.channel !== SUBSCRIBE)) return pass(message);
    const show = (token) => pass(token ? { ...message, ext: { ...message.ext, token } } : message);
    if (typeof config.token !== "function") return show(config.token);
    const { socket } = session;
    // Without its token the hub would refuse for good what the page may hear once it has it again.
    askToken().then(show, (error) => {
      if (socket !== session.socket) return;
      world.report(error);
      session.fail();
    });
  }

  return {
    configure(options) {
      for (const name of Object.keys(options)) {
        if (name !== "url" && name !== "token") throw new Error("Unrecognized option: " + name);
      }
      const { url } = options;
      if (session && url !== undefined && url !== session.url) throw new Error("Fanout: name the hub before the first subscribe");
      config = { ...config, ...options };
    },

    subscribe(channel, callback, options = {}) {
      if (typeof channel !== "string" || !channel) throw new TypeError("Fanout: a channel is a non-empty string");
      if (typeof callback !== "function") throw new TypeError("Fanout: the callback is not a function");
      const name = channel[0] === "/" ? channel : "/" + channel;
      const watch = new Watch(connection(), watches, name, callback, options);
      watches.add(watch);
      session.add(name, watch, options.position);
      watch.schedule();
      return watch;
    },

    presence(channel, callback) {
      const name = channel.replace(/^\//, "");
      const url = connection().url.replace(/[^/]*\/?$/, "presence?channel=" + encodeURIComponent(channel));
      let here = new Set();
      let early = null; // What comes while the state is on its way.
      let ended = false;
      let watch = null;
      const apply = ({ joined, left }) => {
        joined.forEach((user) => here.add(user));
        left.forEach((user) => here.delete(user));
      };
      const take = (data) => {
        if (early) return void early.push({ at: parse(watch.position), data });
        apply(data);
        return callback({ users: [...here], count: data.count });
      };
      const load = async () => {
        early = early || [];
        const token = await askToken();
        const answer = await world.fetch(url + (token ? "&token=" + encodeURIComponent(token) : ""), { cache: "no-store" });
        if (!answer.ok) throw new Error(`Fanout: presence of ${name}: ${answer.status}`);
        const state = await answer.json();
        const later = early.filter(({ at }) => !at || isBehind(parse(state.position), at)).map(({ data }) => data);
        here = new Set(state.users.map(({ user }) => user));
        early = null;
        later.forEach(apply);
        if (ended) return;
        if (!watch) watch = this.subscribe("presence/" + name, take, { position: state.position, raw: true, lost: load });
        await callback({ users: [...here], count: [state, ...later].pop().count });
      };
      const begin = () => void load().catch((error) => {
        world.report(error);
        if (!ended && !watch) world.later(begin, 9000 + 2000 * world.random());
      });
      begin();
      return { cancel: () => { ended = true; if (watch) watch.cancel(); } };
    },

    get status() {
      if (!session || !watches.size) return "idle";
      return session.up && !session.timers.asked ? session.kind : session.told && !session.reachable ? "unreachable" : "connecting";
    },

    get reason() {
      return session && watches.size ? session.reason : "";
    },
  };
}
