// The client libraries, unmodified, each behind the same few orders; in Node (client.cjs) and in a page (page.mjs).
//
// Orders:  subscribe {channel}, unsubscribe {channel}, publish {channel, data}, disconnect; faye also: state
//          burst {channel, values}: publishes each, all at once
//          cometd also: call {target, data}, clock, bytes {channel, data}, session, reload
// Events:  say("up" | "down" | "subscribed" | "message" | "published" | "refused" | "disconnected", {…})

/** The browser's own EventSource on /sse. Events: "subscribed" and "lost" with data, "message" with the publication. */
export function withEventSource({ url }, say) {
  const source = new EventSource(url);
  for (const event of ["subscribed", "message", "lost"]) {
    source.addEventListener(event, ({ data }) => say(event, event === "message" ? JSON.parse(data) : { data: JSON.parse(data) }));
  }
  return { close: () => source.close() };
}

/** Faye's client. disable: transports that the page says it doesn't want. */
export function withFaye(faye, { url, disable = [], ...options }, say) {
  const client = new faye.Client(url, { timeout: 10, retry: 0.2, ...options });
  for (const type of disable) client.disable(type);
  client.on("transport:up", () => say("up"));
  client.on("transport:down", () => say("down"));
  const subscriptions = new Map();
  return {
    subscribe({ channel }) {
      // 1.1.2 tells only the data.
      const subscription = faye.VERSION === "1.1.2"
        ? client.subscribe(channel, (data) => say("message", { data }))
        : client.subscribe(channel).withChannel((from, data) => say("message", { channel: from, data }));
      subscriptions.set(channel, subscription);
      subscription.then(
        () => say("subscribed", { channel }),
        (error) => say("refused", { channel, code: error.code, text: error.message }),
      );
    },
    unsubscribe({ channel }) {
      subscriptions.get(channel).cancel();
      say("unsubscribed", { channel });
    },
    publish({ channel, data }) {
      client.publish(channel, data).then(
        () => say("published", { channel }),
        (error) => say("refused", { channel, code: error.code, text: error.message }),
      );
    },
    burst({ channel, values }) {
      for (const data of values) this.publish({ channel, data });
    },
    state() {
      say("state", { transport: client._dispatcher.connectionType });
    },
    disconnect() {
      client.disconnect();
      say("disconnected");
    },
  };
}

/**
 * CometD's client, of the module `cometd`. extensions: names of its classes, as "AckExtension". channels: subscribed to
 * from the first handshake on.
 */
export function withCometd(modules, { url, transport, extensions = [], channels = [] }, say) {
  const cometd = new modules.CometD();
  for (const type of ["websocket", "long-polling", "callback-polling"]) if (type !== transport) cometd.unregisterTransport(type);
  const added = {};
  for (const name of extensions) cometd.registerExtension(name, (added[name] = new modules[name]()));
  cometd.configure({ url, logLevel: "error", backoffIncrement: 200, maxNetworkDelay: 5000 });
  const wanted = new Set(channels);
  const handles = new Map();
  const show = ({ data, ext }) => (ext?.binary ? { ...data, data: [...new Uint8Array(data.data)] } : data);
  const listen = (channel) =>
    handles.set(
      channel,
      cometd.subscribe(
        channel,
        (message) => say("message", { channel: message.channel, data: show(message) }),
        (reply) => (reply.successful ? say("subscribed", { channel }) : say("refused", { channel, text: reply.error })),
      ),
    );
  let up = false;
  let shaken = false;
  cometd.addListener("/meta/handshake", (reply) => {
    shaken = reply.successful;
    if (shaken) for (const channel of wanted) listen(channel);
  });
  cometd.addListener("/meta/connect", (reply) => {
    if (reply.successful !== up) say((up = reply.successful) ? "up" : "down");
  });
  cometd.handshake();
  return {
    subscribe({ channel }) {
      wanted.add(channel);
      if (shaken) listen(channel);
    },
    unsubscribe({ channel }) {
      wanted.delete(channel);
      cometd.unsubscribe(handles.get(channel), () => say("unsubscribed", { channel }));
    },
    publish({ channel, data }) {
      cometd.publish(channel, data, (reply) =>
        reply.successful ? say("published", { channel }) : say("refused", { channel, text: reply.error }),
      );
    },
    burst({ channel, values }) {
      for (const data of values) this.publish({ channel, data });
    },
    bytes({ channel, data }) {
      cometd.publishBinary(channel, new Uint8Array(data), true, { name: "bytes" }, (reply) =>
        reply.successful ? say("published", { channel }) : say("refused", { channel, text: reply.error }),
      );
    },
    call({ target, data }) {
      cometd.remoteCall(target, data, 5000, (reply) => say("answered", { data: reply.data, error: reply.error }));
    },
    clock() {
      say("clock", { offset: added.TimeSyncExtension.getTimeOffset(), lag: added.TimeSyncExtension.getNetworkLag() });
    },
    session() {
      say("session", { id: cometd.getClientId(), transport: cometd.getTransport()?.type });
    },
    reload() {
      cometd.reload();
    },
    disconnect() {
      cometd.disconnect(() => say("disconnected"));
    },
  };
}
