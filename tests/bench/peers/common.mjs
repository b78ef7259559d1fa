// What the peers have in common: a control server on loopback that the benchmark asks, and clocks.
import { createServer } from "node:http";

export const options = JSON.parse(process.argv[2] ?? "{}");

/** Microseconds since 1970 by the same clock as everybody's: Date's, with the monotonic clock's digits. */
export function clock() {
  const start = Date.now();
  let tick = Date.now();
  while (tick === start) tick = Date.now();
  const offset = BigInt(tick) * 1000n - process.hrtime.bigint() / 1000n;
  return () => Number(process.hrtime.bigint() / 1000n + offset);
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** `actions` by path; each gets the request's JSON and answers with JSON. Returns the server. */
export async function control(actions) {
  const server = createServer(async (request, response) => {
    try {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const body = chunks.length ? JSON.parse(Buffer.concat(chunks)) : {};
      const answer = await actions[request.url.slice(1)](body);
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify(answer ?? {}));
    } catch (error) {
      console.error(error);
      response.writeHead(500);
      response.end(String(error.stack));
    }
  });
  server.keepAliveTimeout = 60_000;
  return server;
}

/** Says where it listens: the benchmark waits for this line. */
export async function ready(server) {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", 4096, resolve));
  console.log(`ready ${server.address().port}`);
}
