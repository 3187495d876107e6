/* The load generator of `fanfare bench`: subscribers, a publisher, and the count of what arrived.
 *
 * hub/bench.py compiles and drives it. It is C because the generator must have time to spare beside a
 * server that writes millions of messages a second; a Python client would measure itself.
 *
 * Arguments are key=value (see `main`). Commands come on standard input, one a line; each is answered by
 * one line of JSON on standard output:
 *   open N                open N subscribers, to the state in which they receive
 *   publisher             open the publisher's connections
 *   reconnect on|off      send a new /meta/connect as soon as one is answered, or keep it back
 *   hold                  send the connects that were kept back
 *   flood W S [M]         publish for S seconds, at most M messages, with at most W not yet delivered to all
 *   pace R S              publish R a second for S seconds, evenly
 *   wait S                keep the connections alive for S seconds
 * A message is known by its marker, '~' and 16 hexadecimal digits: its number, and its number in its channel
 * among those of its publisher's connection. The first finds when it was sent; the second shows loss, repetition
 * and disorder. Between two publishers' connections there is no order that a server could keep.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES (512 * 1024)
#define MARKER_CHARS 17
#define MAX_CONNECTIONS 65536

/* The key and the answer to it from RFC 6455 section 1.3: one pair is enough for a benchmark. */
#define WS_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define WS_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum transport { BAYEUX_WS, BAYEUX_POLL, BAYEUX_SSE, PLAIN_WS, PLAIN_SSE };
enum role { SUBSCRIBER, PUBLISHER };
enum state { CONNECTING, UPGRADING, HANDSHAKING, SUBSCRIBING, READY, CLOSED };

struct bytes {
    char *at;
    size_t length, room;
};

struct patch {
    enum { CHANNEL, NUMBER, MARKER } kind;
    size_t offset;
};

struct connection {
    int fd;
    uint32_t index;
    uint8_t role, state, websocket, streaming, chunked, busy, answered, connected, want_write;
    char client[64];
    uint32_t *expected;     /* of each of a subscriber's channels, from each publisher, the next number */
    struct bytes in, text, out;
    struct bytes form;      /* of a publisher, the request or frame with places to fill in */
    struct patch *patches;
    int patch_count, items;
};

static struct {
    const char *host, *path, *publish_path, *publish_form;
    double stall; /* No delivery for so many seconds ends a phase: the rest was lost. */
    double spin;  /* So many seconds after something came we look for more instead of sleeping. */
    int port, channels, first, per_subscriber, concurrency, publishers, payload;
    enum transport transport;
    bool publish_websocket, publish_bayeux, positions, reconnect;
} option = {
    .host = "127.0.0.1", .path = "/bayeux", .publish_path = "/bayeux", .publish_form = "",
    .stall = 10, .port = 8000, .channels = 1, .per_subscriber = 1, .concurrency = 64, .publishers = 1, .payload = 100,
    .reconnect = true,
};

static int poller, timer;
static struct connection **subscribers;
static int subscriber_count, ready_count, opening, open_goal;
static struct connection **publishers;
static int publisher_count, publishers_ready, next_publisher, busy_publishers;

/* Every message of the whole run. */
static uint64_t *sent_at;
static uint32_t *missing, *channel_of;
static uint16_t *publisher_of;
static uint32_t message_count, message_room;
static uint32_t *channel_numbers;

static struct {
    uint64_t started, deadline, last_delivery, interval, due;
    uint64_t deliveries, duplicates, gaps, refused, reads, received_bytes, connects;
    uint32_t first_message, max_messages, in_flight, window, peak_in_flight;
    int kind;
    double cpu_started;
    uint64_t histogram[64 * 64], largest;
} phase;
enum { IDLE, OPENING, PUBLISHERS, FLOOD, PACE, WAIT };

static char *scratch; /* Where reads land; a leftover is put before them. */

static void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void fail(const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *c = text; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < 32) *c = '\'';
    printf("{\"error\": \"%s\"}\n", text);
    fflush(stdout);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static double own_cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void *grow(void *memory, size_t size) {
    void *result = realloc(memory, size);
    if (!result) fail("out of memory");
    return result;
}

static void append(struct bytes *b, const void *data, size_t length) {
    if (b->length + length > b->room) {
        b->room = (b->length + length) * 2;
        b->at = grow(b->at, b->room);
    }
    memcpy(b->at + b->length, data, length);
    b->length += length;
}

static void discard(struct bytes *b) { /* An idle connection keeps no buffer: memory is the server's to spend. */
    free(b->at);
    *b = (struct bytes){0};
}

/* ---- latency: buckets of 1/64 of a power of two */

static int bucket_of(uint64_t ns) {
    if (ns < 64) return (int)ns;
    int top = 63 - __builtin_clzll(ns);
    return (top - 5) * 64 + (int)((ns >> (top - 6)) & 63);
}

static double bucket_us(int bucket) {
    if (bucket < 64) return bucket / 1000.0;
    int top = bucket / 64 + 5;
    double low = (double)(1ull << top), step = low / 64;
    return (low + step * (bucket % 64 + 0.5)) / 1000.0;
}

static double percentile(double part) {
    uint64_t wanted = (uint64_t)((double)phase.deliveries * part), seen = 0;
    for (int i = 0; i < 64 * 64; i++) {
        seen += phase.histogram[i];
        if (seen > wanted) return bucket_us(i);
    }
    return (double)phase.largest / 1000.0;
}

/* ---- writing */

static void watch(struct connection *c, bool writing) {
    if (c->want_write == writing) return;
    c->want_write = writing;
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0u), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

static void flush(struct connection *c) {
    size_t done = 0;
    while (done < c->out.length) {
        ssize_t n = send(c->fd, c->out.at + done, c->out.length - done, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN) break;
            fail("a send failed: %s", strerror(errno));
        }
        done += (size_t)n;
    }
    if (done < c->out.length) memmove(c->out.at, c->out.at + done, c->out.length - done);
    c->out.length -= done;
    watch(c, c->out.length > 0);
    if (!c->out.length && c->role == SUBSCRIBER) discard(&c->out);
}

/* A client's frame is masked; with the mask 0 its bytes stay what they are, and the server's work the same. */
static void append_frame_head(struct bytes *out, int opcode, size_t length) {
    unsigned char head[14] = {(unsigned char)(0x80 | opcode)};
    size_t n = 2;
    if (length < 126) {
        head[1] = (unsigned char)(0x80 | length);
    } else if (length < 65536) {
        head[1] = 0x80 | 126, head[2] = (unsigned char)(length >> 8), head[3] = (unsigned char)length, n = 4;
    } else {
        head[1] = 0x80 | 127;
        for (int i = 0; i < 8; i++) head[2 + i] = (unsigned char)(length >> (56 - 8 * i));
        n = 10;
    }
    append(out, head, n + 4);
}

static void say(struct connection *c, const char *text, size_t length) { /* one Bayeux message, on either transport */
    if (c->websocket) {
        append_frame_head(&c->out, 1, length);
    } else {
        char head[512];
        int n = snprintf(head, sizeof head,
                         "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                         option.path, option.host, option.port, length);
        append(&c->out, head, (size_t)n);
    }
    append(&c->out, text, length);
}

static void say_handshake(struct connection *c) {
    static const char text[] =
        "[{\"channel\":\"/meta/handshake\",\"version\":\"1.0\",\"id\":\"1\","
        "\"supportedConnectionTypes\":[\"websocket\",\"long-polling\",\"eventsource\"]}]";
    say(c, text, sizeof text - 1);
    c->state = HANDSHAKING;
}

static uint32_t channel_at(struct connection *c, int j) {
    return (uint32_t)(((uint64_t)c->index * (uint64_t)option.per_subscriber + (uint64_t)j) % (uint64_t)option.channels);
}

static uint32_t named(uint32_t channel) { return channel + (uint32_t)option.first; }

static void say_subscribe(struct connection *c) {
    struct bytes b = {0};
    char text[256];
    int n = snprintf(text, sizeof text, "[{\"channel\":\"/meta/subscribe\",\"clientId\":\"%s\",\"id\":\"2\",\"subscription\":", c->client);
    append(&b, text, (size_t)n);
    if (option.per_subscriber > 1) append(&b, "[", 1);
    for (int j = 0; j < option.per_subscriber; j++) {
        n = snprintf(text, sizeof text, "%s\"/b%08x\"", j ? "," : "", named(channel_at(c, j)));
        append(&b, text, (size_t)n);
    }
    if (option.per_subscriber > 1) append(&b, "]", 1);
    if (option.positions) {
        append(&b, ",\"ext\":{\"position\":{", 20);
        for (int j = 0; j < option.per_subscriber; j++) {
            n = snprintf(text, sizeof text, "%s\"/b%08x\":null", j ? "," : "", named(channel_at(c, j)));
            append(&b, text, (size_t)n);
        }
        append(&b, "}}", 2);
    }
    append(&b, "}]", 2);
    say(c, b.at, b.length);
    free(b.at);
    c->state = SUBSCRIBING;
}

static void say_connect(struct connection *c) {
    char text[256];
    int n = snprintf(text, sizeof text,
                     "[{\"channel\":\"/meta/connect\",\"clientId\":\"%s\",\"connectionType\":\"%s\",\"id\":\"%x\"}]",
                     c->client, c->websocket ? "websocket" : "long-polling", 3 + c->connected++ % 200);
    say(c, text, (size_t)n);
    c->answered = false;
    phase.connects++;
}

static void say_get(struct connection *c, const char *path, bool upgrade) {
    char text[1024], *place, filled[512];
    snprintf(filled, sizeof filled, "%s", path);
    if ((place = strstr(filled, "@CHANNEL@"))) {
        char name[16];
        snprintf(name, sizeof name, "b%08x", named(c->role == SUBSCRIBER ? channel_at(c, 0) : 0));
        memcpy(place, name, 9);
    }
    int n = snprintf(text, sizeof text,
                     upgrade ? "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " WS_KEY "\r\n\r\n"
                             : "GET %s HTTP/1.1\r\nHost: %s:%d\r\nAccept: text/event-stream\r\n\r\n",
                     filled, option.host, option.port);
    append(&c->out, text, (size_t)n);
}

/* ---- publishing */

static void make_form(struct connection *c) {
    const char *p = option.publish_form;
    while (*p) {
        const char *token = strstr(p, "@CLIENT@");
        append(&c->form, p, token ? (size_t)(token - p) : strlen(p));
        if (!token) break;
        append(&c->form, c->client, strlen(c->client));
        p = token + 8;
    }
    for (size_t i = 0; i < c->form.length; i++) {
        static const struct { const char *text; size_t length; int kind; } tokens[] = {
            {"@CHANNEL@", 9, CHANNEL}, {"@MESSAGE", 8, NUMBER}, {"~@@@@@@@@@@@@@@@@", MARKER_CHARS, MARKER}};
        for (int k = 0; k < 3; k++) {
            if (c->form.length - i < tokens[k].length || memcmp(c->form.at + i, tokens[k].text, tokens[k].length)) continue;
            c->patches = grow(c->patches, sizeof *c->patches * (size_t)(c->patch_count + 1));
            c->patches[c->patch_count].kind = tokens[k].kind;
            c->patches[c->patch_count++].offset = i;
            c->items += tokens[k].kind == MARKER;
            i += tokens[k].length - 1;
            break;
        }
    }
    if (!c->items) fail("the form of a publish has no marker in it");
}

static void put_hex(char *at, uint32_t value) {
    for (int i = 7; i >= 0; i--, value >>= 4) at[i] = "0123456789abcdef"[value & 15];
}

static uint32_t random_channel(void) {
    static uint64_t x = 88172645463325252ull; /* xorshift64: the same sequence in every run */
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return (uint32_t)(x % (uint64_t)option.channels);
}

static uint32_t new_message(struct connection *publisher, uint64_t at) {
    if (message_count == message_room) {
        message_room = message_room ? message_room * 2 : 65536;
        sent_at = grow(sent_at, sizeof *sent_at * message_room);
        missing = grow(missing, sizeof *missing * message_room);
        channel_of = grow(channel_of, sizeof *channel_of * message_room);
        publisher_of = grow(publisher_of, sizeof *publisher_of * message_room);
    }
    uint32_t channel = option.channels > 1 ? random_channel() : 0;
    sent_at[message_count] = at;
    channel_of[message_count] = channel;
    publisher_of[message_count] = (uint16_t)publisher->index;
    /* Subscribers take turns at the channels, so each channel has the same number of them. */
    missing[message_count] = (uint32_t)((uint64_t)subscriber_count * (uint64_t)option.per_subscriber / (uint64_t)option.channels);
    phase.in_flight++;
    if (phase.in_flight > phase.peak_in_flight) phase.peak_in_flight = phase.in_flight;
    return message_count++;
}

static void publish(struct connection *c, uint64_t at) {
    unsigned used = ~0u; /* A place of a kind that this message has filled already begins the next one. */
    uint32_t message = 0;
    for (int i = 0; i < c->patch_count; i++) {
        unsigned kind = 1u << c->patches[i].kind;
        if (used & kind) message = new_message(c, at), used = 0;
        used |= kind;
        char *place = c->form.at + c->patches[i].offset;
        switch (c->patches[i].kind) {
        case CHANNEL:
            *place = 'b';
            put_hex(place + 1, named(channel_of[message]));
            break;
        case NUMBER:
            put_hex(place, message);
            break;
        case MARKER:
            put_hex(place + 1, message);
            put_hex(place + 9, channel_numbers[channel_of[message] * (uint32_t)option.publishers + c->index]++);
        }
    }
    if (c->websocket) {
        append_frame_head(&c->out, 1, c->form.length);
    } else {
        c->busy = true;
        busy_publishers++;
    }
    append(&c->out, c->form.at, c->form.length);
}

/* Publishes what the window, the clock and the free connections allow; writes once to each connection. */
static void pump(void) {
    uint64_t at = now_ns();
    bool paced = phase.kind == PACE;
    if (phase.kind != FLOOD && !paced) return;
    bool wrote = false;
    int tried = 0;
    while (tried < publisher_count) {
        struct connection *c = publishers[next_publisher];
        uint64_t stamp = at;
        if (paced) {
            /* Stamped with when it was due: a generator or a server that lags shows in the latency. */
            if (phase.due > at || phase.due >= phase.deadline) break;
            stamp = phase.due;
        } else {
            if (at >= phase.deadline || phase.in_flight + (uint32_t)c->items > phase.window) break;
            if (phase.max_messages && message_count - phase.first_message + (uint32_t)c->items > phase.max_messages) break;
        }
        if (c->busy) {
            next_publisher = (next_publisher + 1) % publisher_count;
            tried++;
            continue;
        }
        if (paced) phase.due += phase.interval * (uint64_t)c->items;
        publish(c, stamp);
        wrote = true;
        if (!c->websocket) {
            flush(c);
            next_publisher = (next_publisher + 1) % publisher_count;
            tried = 0;
        }
    }
    if (wrote)
        for (int i = 0; i < publisher_count; i++)
            if (publishers[i]->websocket && publishers[i]->out.length) flush(publishers[i]);
}

/* ---- receiving */

static inline int hex_of(char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

static inline uint32_t get_hex(const char *at) {
    uint32_t value = 0;
    for (int i = 0; i < 8; i++) value = value << 4 | (uint32_t)(hex_of(at[i]) & 15);
    return value;
}

static void receive(struct connection *c, const char *marker, uint64_t at) {
    uint32_t message = get_hex(marker + 1), number = get_hex(marker + 9);
    if (message >= message_count) fail("a message arrived that was not sent: %.17s", marker);
    uint32_t channel = channel_of[message];
    uint64_t first = (uint64_t)c->index * (uint64_t)option.per_subscriber % (uint64_t)option.channels;
    uint32_t place = (uint32_t)(((uint64_t)channel + (uint64_t)option.channels - first) % (uint64_t)option.channels);
    if (place >= (uint32_t)option.per_subscriber) fail("a subscriber got a message of a channel it did not ask for");
    uint32_t *expected = &c->expected[place * (uint32_t)option.publishers + publisher_of[message]];
    if (number != *expected) {
        if (number < *expected) {
            phase.duplicates++;
            return;
        }
        phase.gaps += number - *expected;
    }
    *expected = number + 1;
    phase.deliveries++;
    phase.last_delivery = at;
    uint64_t latency = at > sent_at[message] ? at - sent_at[message] : 0;
    phase.histogram[bucket_of(latency)]++;
    if (latency > phase.largest) phase.largest = latency;
    if (missing[message] && --missing[message] == 0 && phase.in_flight) phase.in_flight--;
}

static void ready(struct connection *c) {
    c->state = READY;
    if (c->role == SUBSCRIBER) {
        ready_count++;
        opening--;
    } else {
        publishers_ready++;
        make_form(c);
    }
}

static const char *find(const char *text, size_t length, const char *wanted) {
    return memmem(text, length, wanted, strlen(wanted));
}

static bool take_client(struct connection *c, const char *text, size_t length) {
    const char *at = find(text, length, "\"clientId\":\"");
    if (!at) return false;
    at += 12;
    const char *end = memchr(at, '"', (size_t)(text + length - at));
    if (!end || end - at >= (ptrdiff_t)sizeof c->client) return false;
    memcpy(c->client, at, (size_t)(end - at));
    c->client[end - at] = 0;
    return true;
}

/* One whole text: a WebSocket message, the body of a response, or some lines of an event stream. */
static void take_text(struct connection *c, const char *text, size_t length, uint64_t at) {
    const char *end = text + length;
    if (c->state == READY || c->state == SUBSCRIBING) {
        int markers = 0;
        if (c->role == SUBSCRIBER)
            for (const char *p = text; (p = memchr(p, '~', (size_t)(end - p))) && end - p >= MARKER_CHARS; p += MARKER_CHARS) {
                receive(c, p, at);
                markers++;
            }
        /* A lone delivery is not searched for a connect's answer: that would cost more than the rest. */
        if (markers == 1 && length < (size_t)option.payload + 120) return;
    }
    if (option.transport >= PLAIN_WS && c->role == SUBSCRIBER) return;
    if (c->state == HANDSHAKING) {
        if (!find(text, length, "/meta/handshake") || !take_client(c, text, length))
            fail("no handshake: %.*s", (int)(length < 300 ? length : 300), text);
        if (c->role == PUBLISHER) {
            ready(c);
            say_connect(c);
        } else {
            say_subscribe(c);
            if (c->websocket) say_connect(c); /* in a frame of its own: Faye holds a whole batch with its connect */
        }
        return;
    }
    if (c->state == SUBSCRIBING && find(text, length, "/meta/subscribe")) {
        if (!find(text, length, "\"successful\":true")) fail("no subscription: %.*s", (int)(length < 300 ? length : 300), text);
        if (option.transport == BAYEUX_SSE) {
            char path[256];
            snprintf(path, sizeof path, "%s/%s", option.path, c->client);
            say_get(c, path, false);
            c->streaming = 1; /* ready when the stream's head arrives */
            return;
        }
        if (!c->websocket) say_connect(c);
        ready(c);
    }
    if (find(text, length, "\"/meta/connect\"")) {
        if (find(text, length, "\"successful\":false")) fail("no connect: %.*s", (int)(length < 300 ? length : 300), text);
        if (option.reconnect || c->role == PUBLISHER) say_connect(c);
        else c->answered = true;
    } else if (c->role == PUBLISHER && find(text, length, "\"successful\":false")) {
        if (!phase.refused++) fprintf(stderr, "refused: %.*s\n", (int)(length < 300 ? length : 300), text);
    }
}

static size_t take_frames(struct connection *c, char *data, size_t length, uint64_t at) {
    size_t done = 0;
    while (length - done >= 2) {
        const unsigned char *head = (const unsigned char *)data + done;
        size_t head_bytes = 2, body = head[1] & 127;
        if (body == 126) {
            head_bytes = 4;
            if (length - done < 4) break;
            body = (size_t)head[2] << 8 | head[3];
        } else if (body == 127) {
            head_bytes = 10;
            if (length - done < 10) break;
            body = 0;
            for (int i = 0; i < 8; i++) body = body << 8 | head[2 + i];
        }
        if (head[1] & 128 || head[0] & 0x70) fail("a frame with a mask or an extension came from the server");
        if (length - done < head_bytes + body) break;
        const char *text = data + done + head_bytes;
        switch (head[0] & 15) {
        case 1:
        case 2:
            if (!(head[0] & 128)) fail("a fragmented message came from the server");
            take_text(c, text, body, at);
            break;
        case 8:
            fail("the server closed a WebSocket with %d", body >= 2 ? (unsigned char)text[0] << 8 | (unsigned char)text[1] : 0);
        case 9:
            append_frame_head(&c->out, 10, body);
            append(&c->out, text, body);
            break;
        case 10:
            break;
        default:
            fail("a frame with opcode %d came from the server", head[0] & 15);
        }
        done += head_bytes + body;
    }
    return done;
}

/* Takes the chunks that are whole; returns the bytes taken, and sets `ended` at the last chunk. */
static size_t take_chunks(const char *data, size_t length, struct bytes *into, bool *ended) {
    size_t done = 0;
    *ended = false;
    while (done < length) {
        const char *line = memmem(data + done, length - done, "\r\n", 2);
        if (!line) break;
        size_t size = strtoul(data + done, NULL, 16), start = (size_t)(line - data) + 2;
        if (length - start < size + 2) break;
        append(into, data + start, size);
        done = start + size + 2;
        if (size == 0) {
            *ended = true;
            break;
        }
    }
    return done;
}

static const char *header(const char *head, size_t length, const char *name) {
    size_t n = strlen(name);
    for (const char *p = head; (p = memmem(p, length - (size_t)(p - head), "\r\n", 2)); ) {
        p += 2;
        if (length - (size_t)(p - head) > n && !strncasecmp(p, name, n) && p[n] == ':') {
            for (p += n + 1; *p == ' '; p++) {}
            return p;
        }
    }
    return NULL;
}

static void take_events(struct connection *c, uint64_t at) { /* whole lines only: a marker may be split between chunks */
    char *last = c->text.length ? memrchr(c->text.at, '\n', c->text.length) : NULL;
    if (!last) return;
    size_t whole = (size_t)(last - c->text.at) + 1;
    take_text(c, c->text.at, whole, at);
    memmove(c->text.at, c->text.at + whole, c->text.length - whole);
    c->text.length -= whole;
    if (!c->text.length) discard(&c->text);
}

static size_t take_http(struct connection *c, char *data, size_t length, uint64_t at) {
    size_t done = 0;
    while (done < length) {
        if (c->streaming == 2) {
            bool ended = false;
            if (c->chunked) {
                size_t taken = take_chunks(data + done, length - done, &c->text, &ended);
                if (ended) fail("the server ended an event stream");
                take_events(c, at);
                return done + taken;
            }
            append(&c->text, data + done, length - done);
            take_events(c, at);
            return length;
        }
        char *blank = memmem(data + done, length - done, "\r\n\r\n", 4);
        if (!blank) break;
        const char *head = data + done;
        size_t head_bytes = (size_t)(blank - head) + 4;
        int status = length - done > 12 ? atoi(head + 9) : 0;
        if (c->state == UPGRADING) {
            if (status != 101 || !find(head, head_bytes, WS_ACCEPT))
                fail("no upgrade: %.*s", (int)(length - done < 300 ? length - done : 300), head);
            c->websocket = 1;
            done += head_bytes;
            if (c->role == PUBLISHER ? option.publish_bayeux : option.transport == BAYEUX_WS) say_handshake(c);
            else ready(c);
            return done + take_frames(c, data + done, length - done, at);
        }
        const char *coding = header(head, head_bytes, "transfer-encoding");
        bool chunked = coding && !strncasecmp(coding, "chunked", 7);
        if (status < 200 || status >= 300) {
            if (c->role == SUBSCRIBER) fail("status %d: %.*s", status, (int)(length - done < 300 ? length - done : 300), head);
            if (!phase.refused++) fprintf(stderr, "refused: %.*s\n", (int)(length - done < 500 ? length - done : 500), head);
        }
        if (c->streaming == 1) {
            c->streaming = 2;
            c->chunked = chunked;
            if (c->state != READY) ready(c);
            done += head_bytes;
            continue;
        }
        const char *size = header(head, head_bytes, "content-length");
        size_t body = size ? strtoul(size, NULL, 10) : 0;
        if (chunked) {
            struct bytes text = {0};
            bool ended;
            size_t taken = take_chunks(data + done + head_bytes, length - done - head_bytes, &text, &ended);
            if (ended) take_text(c, text.at ? text.at : "", text.length, at);
            free(text.at);
            if (!ended) break;
            done += head_bytes + taken;
        } else {
            if (length - done < head_bytes + body) break;
            take_text(c, data + done + head_bytes, body, at);
            done += head_bytes + body;
        }
        if (c->role == PUBLISHER && c->busy) {
            c->busy = false;
            busy_publishers--;
        }
    }
    return done;
}

static void take(struct connection *c) {
    size_t kept = c->in.length;
    if (kept > READ_BYTES) fail("a message is larger than %d bytes", READ_BYTES);
    memcpy(scratch, c->in.at ? c->in.at : "", kept);
    ssize_t n = recv(c->fd, scratch + kept, READ_BYTES, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) fail("the server closed a %s's connection: %s", c->role == PUBLISHER ? "publisher" : "subscriber",
                     n ? strerror(errno) : "end of stream");
    phase.reads++;
    phase.received_bytes += (uint64_t)n;
    uint64_t at = now_ns();
    size_t length = kept + (size_t)n;
    size_t done = c->websocket ? take_frames(c, scratch, length, at) : take_http(c, scratch, length, at);
    if (done == length) {
        if (c->in.at) discard(&c->in);
    } else {
        c->in.length = 0;
        append(&c->in, scratch + done, length - done);
    }
    if (c->out.length) flush(c);
}

/* ---- opening */

static struct connection *new_connection(enum role role, uint32_t index) {
    struct connection *c = calloc(1, sizeof *c);
    if (!c) fail("out of memory");
    c->role = role;
    c->state = CONNECTING;
    c->index = index;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) fail("no socket: %s", strerror(errno));
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct linger linger = {1, 0}; /* Closing resets: thousands of TIME_WAITs would use the ports up. */
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)option.port)};
    if (inet_pton(AF_INET, option.host, &address.sin_addr) != 1) fail("not an IPv4 address: %s", option.host);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        fail("no connection: %s", strerror(errno));
    if (role == SUBSCRIBER) c->expected = calloc((size_t)option.per_subscriber * (size_t)option.publishers, sizeof *c->expected);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    c->want_write = 1;
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
    return c;
}

static void connected(struct connection *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) fail("no connection: %s", strerror(error));
    if (c->role == PUBLISHER) {
        if (option.publish_websocket) {
            say_get(c, option.publish_path, true);
            c->state = UPGRADING;
        } else {
            ready(c);
        }
    } else {
        /* A late subscriber starts at the next message. */
        for (int j = 0; j < option.per_subscriber; j++)
            memcpy(c->expected + j * option.publishers, channel_numbers + channel_at(c, j) * (uint32_t)option.publishers,
                   sizeof *c->expected * (size_t)option.publishers);
        switch (option.transport) {
        case BAYEUX_WS:
        case PLAIN_WS:
            say_get(c, option.path, true);
            c->state = UPGRADING;
            break;
        case PLAIN_SSE:
            say_get(c, option.path, false);
            c->streaming = 1;
            c->state = SUBSCRIBING;
            break;
        case BAYEUX_POLL:
        case BAYEUX_SSE:
            say_handshake(c);
        }
    }
    flush(c);
}

static void open_more(void) {
    while (opening < option.concurrency && subscriber_count < open_goal) {
        subscribers[subscriber_count] = new_connection(SUBSCRIBER, (uint32_t)subscriber_count);
        subscriber_count++;
        opening++;
    }
}

/* ---- phases */

static void begin(int kind) {
    memset(&phase, 0, sizeof phase);
    phase.kind = kind;
    phase.started = phase.last_delivery = now_ns();
    phase.first_message = message_count;
    phase.cpu_started = own_cpu();
}

static void report(void) {
    double seconds = (double)(now_ns() - phase.started) / 1e9;
    uint64_t each = (uint64_t)subscriber_count * (uint64_t)option.per_subscriber / (uint64_t)option.channels;
    uint32_t messages = message_count - phase.first_message;
    printf("{\"seconds\": %.6f, \"generator_cpu\": %.6f, \"subscribers\": %d, \"messages\": %u, \"expected\": %llu, "
           "\"deliveries\": %llu, \"duplicates\": %llu, \"gaps\": %llu, \"refused\": %llu, \"reads\": %llu, "
           "\"received_bytes\": %llu, \"connects\": %llu, \"peak_in_flight\": %u",
           seconds, own_cpu() - phase.cpu_started, ready_count, messages, (unsigned long long)(each * messages),
           (unsigned long long)phase.deliveries, (unsigned long long)phase.duplicates, (unsigned long long)phase.gaps,
           (unsigned long long)phase.refused, (unsigned long long)phase.reads,
           (unsigned long long)phase.received_bytes, (unsigned long long)phase.connects, phase.peak_in_flight);
    if (phase.deliveries)
        printf(", \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f", percentile(0.5),
               percentile(0.9), percentile(0.99), (double)phase.largest / 1000.0);
    printf("}\n");
    fflush(stdout);
    phase.kind = IDLE;
}

static void set_timer(uint64_t interval) {
    struct itimerspec spec = {.it_interval = {(time_t)(interval / 1000000000ull), (long)(interval % 1000000000ull)}};
    spec.it_value = spec.it_interval;
    timerfd_settime(timer, 0, &spec, NULL);
}

static void check_phase(void) {
    uint64_t at;
    switch (phase.kind) {
    case OPENING:
        open_more();
        if (ready_count == open_goal) report();
        break;
    case PUBLISHERS:
        if (publishers_ready == publisher_count) report();
        break;
    case FLOOD:
    case PACE:
        at = now_ns();
        bool over = at >= phase.deadline ||
                    (phase.max_messages && message_count - phase.first_message >= phase.max_messages);
        bool stalled = at > phase.last_delivery + (uint64_t)(option.stall * 1e9);
        if ((over && !phase.in_flight && !busy_publishers) || stalled) {
            phase.in_flight = 0;
            if (stalled) fail("nothing arrived for %g s: %llu of %llu deliveries, %llu out of order, %llu missing",
                              option.stall,
                              (unsigned long long)phase.deliveries,
                              (unsigned long long)((uint64_t)(message_count - phase.first_message) *
                                                   (uint64_t)subscriber_count * (uint64_t)option.per_subscriber /
                                                   (uint64_t)option.channels),
                              (unsigned long long)phase.duplicates, (unsigned long long)phase.gaps);
            set_timer(0);
            report();
        }
        break;
    case WAIT:
        if (now_ns() >= phase.deadline) report();
    }
}

static void obey(char *line) {
    char word[32] = "", argument[32] = "";
    double a = 0, b = 0;
    unsigned long m = 0;
    sscanf(line, "%31s %31s", word, argument);
    if (!strcmp(word, "open")) {
        begin(OPENING);
        open_goal = subscriber_count + atoi(argument);
        if (open_goal > MAX_CONNECTIONS) fail("at most %d subscribers", MAX_CONNECTIONS);
    } else if (!strcmp(word, "publisher")) {
        begin(PUBLISHERS);
        publisher_count = option.publishers;
        publishers = calloc((size_t)publisher_count, sizeof *publishers);
        for (int i = 0; i < publisher_count; i++) publishers[i] = new_connection(PUBLISHER, (uint32_t)i);
    } else if (!strcmp(word, "reconnect")) {
        begin(IDLE);
        option.reconnect = !strcmp(argument, "on");
        report();
    } else if (!strcmp(word, "hold")) {
        begin(IDLE);
        for (int i = 0; i < subscriber_count; i++)
            if (subscribers[i]->answered) {
                say_connect(subscribers[i]);
                flush(subscribers[i]);
            }
        report();
    } else if (!strcmp(word, "flood") && sscanf(line, "%*s %lf %lf %lu", &a, &b, &m) >= 2) {
        begin(FLOOD);
        phase.window = (uint32_t)a;
        phase.deadline = phase.started + (uint64_t)(b * 1e9);
        phase.max_messages = (uint32_t)m;
        pump();
    } else if (!strcmp(word, "pace") && sscanf(line, "%*s %lf %lf", &a, &b) == 2) {
        begin(PACE);
        phase.interval = (uint64_t)(1e9 / a);
        phase.due = phase.started + phase.interval;
        phase.deadline = phase.started + (uint64_t)(b * 1e9);
        set_timer(phase.interval);
    } else if (!strcmp(word, "wait")) {
        begin(WAIT);
        phase.deadline = phase.started + (uint64_t)(atof(argument) * 1e9);
    } else {
        fail("unknown command: %s", line);
    }
}

static void configure(const char *argument) {
    const char *value = strchr(argument, '=');
    if (!value) fail("not key=value: %s", argument);
    size_t n = (size_t)(value++ - argument);
#define IS(name) (n == sizeof name - 1 && !memcmp(argument, name, n))
    if (IS("host")) option.host = value;
    else if (IS("port")) option.port = atoi(value);
    else if (IS("path")) option.path = value;
    else if (IS("transport")) {
        static const char *names[] = {"bayeux-websocket", "bayeux-long-polling", "bayeux-eventsource", "websocket", "eventsource"};
        int i = 0;
        while (i < 5 && strcmp(names[i], value)) i++;
        if (i == 5) fail("unknown transport: %s", value);
        option.transport = (enum transport)i;
    }
    else if (IS("channels")) option.channels = atoi(value);
    else if (IS("first")) option.first = atoi(value);
    else if (IS("each")) option.per_subscriber = atoi(value);
    else if (IS("opening")) option.concurrency = atoi(value);
    else if (IS("stall")) option.stall = atof(value);
    else if (IS("spin")) option.spin = atof(value);
    else if (IS("payload")) option.payload = atoi(value);
    else if (IS("positions")) option.positions = atoi(value);
    else if (IS("publishers")) option.publishers = atoi(value);
    else if (IS("publish_path")) option.publish_path = value;
    else if (IS("publish_form")) option.publish_form = value;
    else if (IS("publish")) {
        option.publish_websocket = strcmp(value, "http") != 0;
        option.publish_bayeux = !strcmp(value, "bayeux-websocket");
    }
    else fail("unknown setting: %s", argument);
#undef IS
}

int main(int count, char **arguments) {
    for (int i = 1; i < count; i++) configure(arguments[i]);
    if (option.channels < 1 || option.per_subscriber < 1 || option.per_subscriber > option.channels)
        fail("each subscriber needs 1 to all of the channels");
    if (option.publishers < 1 || option.publishers > 1024) fail("1 to 1024 publishers");
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    scratch = grow(NULL, 2 * READ_BYTES + 1);
    subscribers = calloc(MAX_CONNECTIONS, sizeof *subscribers);
    channel_numbers = calloc((size_t)option.channels * (size_t)option.publishers, sizeof *channel_numbers);
    static char command_mark, timer_mark;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &command_mark};
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &event);
    event.data.ptr = &timer_mark;
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event);
    static struct epoll_event events[1024];
    static char line[4096];
    size_t line_length = 0;
    uint64_t awake = 0; /* Until when. Whoever sends to a process that sleeps pays for waking it. */
    for (;;) {
        bool spins = phase.kind != IDLE && phase.kind != WAIT && now_ns() < awake;
        int n = epoll_wait(poller, events, 1024, phase.kind == IDLE ? -1 : spins ? 0 : 50);
        if (n > 0 && option.spin > 0) awake = now_ns() + (uint64_t)(option.spin * 1e9);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &command_mark) {
                ssize_t got = read(0, line + line_length, sizeof line - line_length - 1);
                if (got <= 0) return 0;
                line_length += (size_t)got;
                line[line_length] = 0;
                char *end = strchr(line, '\n');
                if (end) { /* One command at a time: the driver waits for its answer. */
                    *end = 0;
                    line_length = 0;
                    obey(line);
                }
            } else if (events[i].data.ptr == &timer_mark) {
                uint64_t ticks;
                if (read(timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN) fail("no timer: %s", strerror(errno));
            } else {
                struct connection *c = events[i].data.ptr;
                if (c->state == CONNECTING) {
                    if (events[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) connected(c);
                } else if (events[i].events & EPOLLOUT) {
                    flush(c);
                }
                if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) take(c);
            }
        }
        pump();
        check_phase();
    }
}
