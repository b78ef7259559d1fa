// socket.io as people run it over several replicas: an adapter carries what one publishes to the others.
// `node socketio.mjs '{"adapter": "postgres" | "redis", "postgres": URL, "redis": URL, "name": CHANNEL}'`
import { Server } from "socket.io";
import pg from "pg";
import { clock, control, options, ready, sleep } from "./common.mjs";

async function adapter() {
  if (options.adapter === "redis") {
    const { createClient } = await import("redis");
    const { createAdapter } = await import("@socket.io/redis-adapter");
    const publisher = createClient({ url: options.redis });
    const subscriber = publisher.duplicate();
    await Promise.all([publisher.connect(), subscriber.connect()]);
    return createAdapter(publisher, subscriber, { key: options.name });
  }
  const { createAdapter } = await import("@socket.io/postgres-adapter");
  const pool = new pg.Pool({ connectionString: options.postgres, max: 10 });
  await pool.query(
    `CREATE TABLE IF NOT EXISTS socket_io_attachments (
       id bigserial UNIQUE, created_at timestamptz DEFAULT now(), payload bytea)`,
  );
  return createAdapter(pool);
}

const TASK = "019f0000-0000-7000-8000-000000000001";
const ITEMS = 200;
let seq = 1;

/** The same content as a frame of ours with one item. */
function frame(at) {
  seq += 1;
  return {
    task_id: TASK, epoch: "7300000000000000000.1", prev: seq - 1, seq, cursor: `7300000000000000000.1:${seq}`,
    published_us: at, status: "running", current: 0, total: ITEMS, percent: 0,
    counts: { total: ITEMS, pending: 199, running: 1, succeeded: 0, failed: 0, skipped: 0, cancelled: 0 },
    items: [{ ordinal: seq % ITEMS, status: "running", message: String(at) }],
  };
}

// Rows as ours are: an item and its task, in one statement and one commit.
const rows = new pg.Client({ connectionString: options.postgres });
await rows.connect();
const STORE = {
  name: "store",
  text: `WITH item AS (UPDATE peer_items SET status = 'running', message = $2, seq = $1 WHERE ordinal = $3)
         UPDATE peer_tasks SET seq = $1, updated_at = clock_timestamp() WHERE id = 1`,
};
async function prepare() {
  await rows.query(
    `CREATE TABLE IF NOT EXISTS peer_tasks (id int PRIMARY KEY, seq bigint, updated_at timestamptz)
       WITH (fillfactor = 50);
     CREATE TABLE IF NOT EXISTS peer_items (ordinal int PRIMARY KEY, status text, message text, seq bigint)
       WITH (fillfactor = 60);
     INSERT INTO peer_tasks VALUES (1, 1, now()) ON CONFLICT DO NOTHING;
     INSERT INTO peer_items SELECT n, 'pending', '', 1 FROM generate_series(0, ${ITEMS - 1}) n
       ON CONFLICT DO NOTHING`,
  );
}

let io;
let publishing = Promise.resolve();

/** Stores the change if it is to be durable, and only then tells it. In order, as a task's changes are. */
function publish(at, durable) {
  const message = frame(at);
  if (!durable) {
    io.to("task").emit("progress", message);
    return;
  }
  const stored = rows.query({ ...STORE, values: [message.seq, String(at), message.seq % ITEMS] });
  publishing = stored.then(() => io.to("task").emit("progress", message));
}

const server = await control({
  prepare,
  // An even rate; each at its own time, however late the one before was.
  async publish({ rate, ms, durable }) {
    const now = clock();
    const begun = now();
    const total = Math.round((rate * ms) / 1000);
    let done = 0;
    while (done < total) {
      const due = Math.min(total, Math.floor(((now() - begun) * rate) / 1e6) + 1);
      for (; done < due; done += 1) publish(now(), durable);
      await sleep(1);
    }
    await publishing;
    return { published: done, seconds: (now() - begun) / 1e6 };
  },
  burst({ n }) {
    for (let i = 0; i < n; i += 1) publish(0, false);
    return { published: n };
  },
});
io = new Server(server, {
  transports: ["websocket"],
  serveClient: false,
  adapter: await adapter(),
});
io.on("connection", (socket) => {
  socket.join("task");
  socket.emit("joined");
});
await ready(server);
