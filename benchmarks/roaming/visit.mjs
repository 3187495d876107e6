// One page's visit, with an unmodified client. Runs in Node (node.mjs) and in pages of Chromium, so it imports nothing.

const CHANNELS = 5;
// Milliseconds: between subscribes; until a poll is held; for what should not come; for what should.
const PAUSE = 100;
const HELD = 150;
const LATE = 300;
const PATIENCE = 8000;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(fact) {
  const end = Date.now() + PATIENCE;
  while (!fact()) {
    if (Date.now() > end) return false;
    await sleep(20);
  }
  return true;
}

/** CometD's client. modules: of npm's `cometd`. */
function withCometd(modules, { url, transport }, told) {
  const cometd = new modules.CometD();
  for (const type of ["websocket", "long-polling", "callback-polling"]) if (type !== transport) cometd.unregisterTransport(type);
  cometd.configure({ url, logLevel: "error" });
  const handles = new Map();
  const listen = (channel) =>
    handles.set(channel, cometd.subscribe(channel, ({ data }) => told.message(channel, data), (reply) => told.answered(channel, reply)));
  cometd.addListener("/meta/unsuccessful", (reply) => told.refused(reply));
  cometd.addListener("/meta/connect", ({ successful }) => { if (successful) told.up(); });
  // As CometD's manual has it: who shakes hands again has lost its subscriptions.
  cometd.addListener("/meta/handshake", ({ successful }) => {
    if (successful) for (const channel of handles.keys()) listen(channel);
  });
  cometd.handshake();
  return {
    subscribe: listen,
    unsubscribe(channel) {
      const handle = handles.get(channel);
      handles.delete(channel);
      cometd.unsubscribe(handle, (reply) => told.answered("un" + channel, reply));
    },
    transport: () => cometd.getTransport() && cometd.getTransport().type,
    leave: () => cometd.disconnect(),
  };
}

/** Faye's client. */
function withFaye(faye, { url, transport }, told) {
  const client = new faye.Client(url);
  // It takes the first that works, and shakes hands by a poll in any case.
  for (const type of ["websocket", "eventsource", "long-polling", "cross-origin-long-polling", "callback-polling"]) {
    if (type === transport) break;
    client.disable(type);
  }
  client.addExtension({
    // Its connects are held from the first on, so none may be answered for long.
    outgoing(message, pass) {
      if (message.channel === "/meta/connect") told.up();
      pass(message);
    },
    incoming(message, pass) {
      const { channel, subscription, successful } = message;
      if (successful === false) told.refused(message);
      if (message.supportedConnectionTypes) told.offered(message.supportedConnectionTypes);
      if (channel === "/meta/unsubscribe") told.answered("un" + subscription, message);
      pass(message);
    },
  });
  const subscriptions = new Map();
  client.connect();
  return {
    subscribe(channel) {
      const subscription = client.subscribe(channel, (data) => told.message(channel, data));
      subscription.then(() => told.answered(channel, { successful: true }), (error) => told.answered(channel, { error: String(error) }));
      subscriptions.set(channel, subscription);
    },
    unsubscribe: (channel) => subscriptions.get(channel).cancel(),
    transport: () => client._dispatcher.connectionType,
    leave: () => void client.disconnect(),
  };
}

/**
 * A visit of the page `name`. publish(channels, data): publishes one on each, and resolves when that is done.
 * Returns what came of it: channels it is deaf on, heard after it had left, and what was refused, or not answered.
 */
export async function visit(library, code, { name, url, transport }, publish) {
  const heard = new Set();
  const answered = new Set();
  const refused = [];
  let offered = [];
  let up = false;
  const client = (library === "cometd" ? withCometd : withFaye)(code, { url, transport }, {
    up: () => { up = true; },
    offered: (types) => { offered = types; },
    message: (channel, data) => heard.add(channel + " " + data),
    answered: (channel, { successful, error }) => {
      answered.add(channel);
      if (!successful) refused.push(`${channel}: ${error}`);
    },
    refused: ({ channel, error, failure }) => refused.push(`${channel}: ${error || (failure && failure.reason)}`),
  });
  const channels = Array.from({ length: CHANNELS }, (_, number) => `/${name}/${number}`);
  if (!(await until(() => up))) refused.push("never connected");
  await sleep(HELD);
  for (const channel of channels) {
    client.subscribe(channel);
    await sleep(PAUSE);
  }
  if (!(await until(() => channels.every((channel) => answered.has(channel))))) refused.push("subscribes not answered");
  const deaf = [];
  const listen = async (names, number) => {
    await publish(channels, number);
    await until(() => names.every((channel) => heard.has(`${channel} ${number}`)));
    deaf.push(...names.filter((channel) => !heard.has(`${channel} ${number}`)).map((channel) => `${channel} ${number}`));
  };
  await listen(channels, 1);
  const [left, ...kept] = channels;
  client.unsubscribe(left);
  if (!(await until(() => answered.has("un" + left)))) refused.push("unsubscribe not answered");
  await listen(kept, 2);
  await sleep(LATE);
  const result = { name, transport: client.transport(), offered, deaf, left: heard.has(`${left} 2`), refused };
  client.leave();
  return result;
}
