// Keeps a copy of all refs in a file: lists them once, then watches, and goes on after any interruption where it stopped.
//
// Usage: REFWATCH_SERVER=HOST:PORT node follow.js STATE_FILE

"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const { Field, Root, Type } = require("protobufjs");

const contract = loader.loadSync("refwatch/v1/service.proto", {
  includeDirs: [path.join(__dirname, "../..")],
  keepCase: true,
  // 64-bit numbers as text, enum values as their names, and fields that are not set as their defaults.
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
});
const { GitEventService } = grpc.loadPackageDefinition(contract).refwatch.v1;

// The cursor leads nowhere any more: list again.
const GAPS = new Set(["CURSOR_EXPIRED", "CURSOR_FOREIGN_EPOCH", "CURSOR_AHEAD"]);
// The connection broke, or the server is busy, starts or stops: try again.
const TRANSIENT = new Set([
  grpc.status.UNAVAILABLE,
  grpc.status.RESOURCE_EXHAUSTED,
  grpc.status.DEADLINE_EXCEEDED,
  grpc.status.ABORTED,
  grpc.status.CANCELLED,
  grpc.status.UNKNOWN,
  grpc.status.INTERNAL,
]);
const [DELAY_MIN_MS, DELAY_MAX_MS] = [100, 15_000];
// Without these a connection whose other end vanished would look like a quiet one.
const KEEPALIVE = { "grpc.keepalive_time_ms": 20_000, "grpc.keepalive_timeout_ms": 10_000 };

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

// Gives what was stored: cursor and refs. Null where nothing was.
const load = (file) => (fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, "utf8")) : null);

// Replaces the file: the cursor and what was made of it change together, or not at all.
function store(file, state) {
  fs.writeFileSync(file + ".tmp", JSON.stringify(state), { flush: true });
  fs.renameSync(file + ".tmp", file);
  const folder = fs.openSync(path.dirname(file), "r");
  fs.fsyncSync(folder);
  fs.closeSync(folder);
}

// Gives all refs, and the cursor to watch from.
async function listRefs(client) {
  const refs = {};
  const request = { page_token: "" };
  for (;;) {
    const page = await new Promise((resolve, reject) => {
      const deadline = new Date(Date.now() + 60_000);
      client.ListRefs(request, { deadline }, (error, response) => (error ? reject(error) : resolve(response)));
    });
    for (const ref of page.refs) {
      (refs[ref.repository_id] ??= {})[ref.name] = ref.symbolic_target ? "ref:" + ref.symbolic_target : ref.oid;
    }
    if (!page.next_page_token) return { cursor: page.cursor, refs };
    request.page_token = page.next_page_token;
  }
}

// Applies an event to the refs. Types that this program does not know need no code: `change` says it all.
function apply(refs, event) {
  const id = event.repository.id;
  if (event.type === "GIT_EVENT_TYPE_REPOSITORY_DELETED") {
    delete refs[id];
  } else if (event.change === "REF_CHANGE_DELETED") {
    delete refs[id]?.[event.ref_name];
  } else if (event.change !== "REF_CHANGE_UNSPECIFIED") {
    const target = event.new_symbolic_target;
    (refs[id] ??= {})[event.ref_name] = target ? "ref:" + target : event.new_oid;
  }
}

// Watches from the cursor until the stream breaks; calls back each time that it made progress.
async function follow(client, file, state, progress) {
  for await (const message of client.WatchEvents({ cursor: state.cursor })) {
    for (const event of message.events?.events ?? []) {
      apply(state.refs, event);
      say({
        event: event.event_id,
        type: event.type,
        repository: event.repository.path,
        ref: event.ref_name,
        old: event.old_oid,
        new: event.new_oid,
      });
    }
    // Kinds that this program does not know are skipped.
    const cursor = message[message.kind]?.cursor;
    if (cursor && cursor !== state.cursor) {
      state.cursor = cursor;
      store(file, state);
    }
    progress();
  }
}

// google.rpc.Status and what it carries here, as far as it is needed.
const rpc = new Root().define("google.rpc");
const message = (name, ...fields) => fields.reduce((type, field) => type.add(field), new Type(name));
rpc.add(message("Any", new Field("type_url", 1, "string"), new Field("value", 2, "bytes")));
rpc.add(message("Status", new Field("details", 3, "Any", "repeated")));
rpc.add(message("ErrorInfo", new Field("reason", 1, "string"), new Field("domain", 2, "string")));
rpc.add(message("Duration", new Field("seconds", 1, "int64"), new Field("nanos", 2, "int32")));
rpc.add(message("RetryInfo", new Field("retry_delay", 1, "Duration")));

// Gives the reason of a status, and how many milliseconds the server asks to wait.
function why(error) {
  let [reason, delayMs] = ["", 0];
  for (const bytes of error.metadata?.get("grpc-status-details-bin") ?? []) {
    for (const detail of rpc.lookupType("Status").decode(bytes).details) {
      const name = detail.type_url.split("/").pop();
      if (name === "google.rpc.ErrorInfo") {
        const info = rpc.lookupType("ErrorInfo").decode(detail.value);
        if (info.domain === "refwatch") reason = info.reason;
      } else if (name === "google.rpc.RetryInfo") {
        const { retry_delay: delay } = rpc.lookupType("RetryInfo").decode(detail.value);
        delayMs = Number(delay?.seconds ?? 0) * 1_000 + (delay?.nanos ?? 0) / 1e6;
      }
    }
  }
  return { reason, delayMs };
}

async function main() {
  const file = path.resolve(process.argv[2]);
  const client = new GitEventService(process.env.REFWATCH_SERVER, grpc.credentials.createInsecure(), KEEPALIVE);
  let state = load(file);
  let [relist, delayMs] = [state === null, DELAY_MIN_MS];
  for (;;) {
    let askedMs = 0;
    try {
      if (relist) {
        // What was known and is not listed is deleted: the list takes the place of everything.
        state = await listRefs(client);
        store(file, state);
        relist = false;
        say({ listed: Object.values(state.refs).reduce((count, refs) => count + Object.keys(refs).length, 0) });
      }
      await follow(client, file, state, () => (delayMs = DELAY_MIN_MS));
    } catch (error) {
      // Anything but a status is a fault of this program.
      if (!(error.code in grpc.status)) throw error;
      const { reason, delayMs: asked } = why(error);
      say({ ended: grpc.status[error.code], reason });
      askedMs = asked;
      relist ||= GAPS.has(reason);
      if (!GAPS.has(reason) && !TRANSIENT.has(error.code)) return 1;
    }
    await sleep(Math.max(askedMs, delayMs * (1 + Math.random())));
    delayMs = Math.min(2 * delayMs, DELAY_MAX_MS);
  }
}

main().then((code) => process.exit(code));
