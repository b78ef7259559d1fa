// One-node tasks through a job queue on PostgreSQL: each job is one PATCH of one node.
// `node queue.mjs '{"queue": "graphile-worker" | "pg-boss", "postgres": URL, "kube": URL, "token": T,
//                   "concurrency": N, "work": true | false}'`
import http from "node:http";
import { control, options, ready } from "./common.mjs";

const agent = new http.Agent({ keepAlive: true, maxSockets: options.concurrency });

function patch({ node, value }) {
  const body = JSON.stringify({ metadata: { labels: { "bench.example.com/queue": value } } });
  return new Promise((resolve, reject) => {
    const request = http.request(`${options.kube}/api/v1/nodes/${node}`, {
      method: "PATCH",
      agent,
      headers: {
        "content-type": "application/merge-patch+json",
        "content-length": Buffer.byteLength(body),
        authorization: `Bearer ${options.token}`,
      },
    });
    request.on("response", (response) => {
      response.resume();
      response.on("end", () =>
        response.statusCode === 200 ? resolve() : reject(new Error(`HTTP ${response.statusCode}`)),
      );
    });
    request.on("error", reject);
    request.end(body);
  });
}

const queues = {
  async "graphile-worker"() {
    const { makeWorkerUtils, run, Logger } = await import("graphile-worker");
    const logger = new Logger(() => () => {});
    const utils = await makeWorkerUtils({ connectionString: options.postgres, logger, maxPoolSize: 16 });
    await utils.migrate();
    if (options.work) {
      await run({
        connectionString: options.postgres,
        concurrency: options.concurrency,
        maxPoolSize: options.concurrency + 4,
        noHandleSignals: true,
        logger,
        taskList: { label: (job) => patch(job) },
      });
    }
    return { send: (job) => utils.addJob("label", job) };
  },
  async "pg-boss"() {
    const { default: PgBoss } = await import("pg-boss");
    const boss = new PgBoss({ connectionString: options.postgres, max: 20, supervise: options.work });
    boss.on("error", (error) => console.error(error));
    await boss.start();
    await boss.createQueue("label");
    if (options.work) {
      // Its shortest poll; as many workers as others have places, each of which takes a batch.
      for (let i = 0; i < 4; i += 1) {
        await boss.work(
          "label",
          { pollingIntervalSeconds: 0.5, batchSize: 100 },
          async (jobs) => void (await Promise.all(jobs.map((job) => patch(job.data)))),
        );
      }
    }
    return { send: (job) => boss.send("label", job) };
  },
};

const queue = await queues[options.queue]();

await ready(
  await control({
    // As many senders at a time as the other systems have.
    async submit({ nodes, value, senders }) {
      let next = 0;
      const sender = async () => {
        while (next < nodes.length) {
          const node = nodes[next];
          next += 1;
          await queue.send({ node, value });
        }
      };
      await Promise.all(Array.from({ length: senders }, sender));
      return { submitted: nodes.length };
    },
  }),
);
