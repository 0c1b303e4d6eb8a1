// JSON over HTTP on loopback, as little as three small services need.
import { createServer } from 'node:http';

const MAX_BODY = 16 * 1024;

/** Ends a request with this status and a short text. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function read(request) {
  if (!['POST', 'PUT', 'PATCH'].includes(request.method)) return {};
  if (!/^application\/json\b/.test(request.headers['content-type'] ?? '')) throw new Refused(415, 'send JSON');
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > MAX_BODY) throw new Refused(413, 'too long');
    chunks.push(chunk);
  }
  let body;
  try {
    body = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new Refused(400, 'this is no JSON');
  }
  if (body === null || typeof body !== 'object') throw new Refused(400, 'send an object');
  return body;
}

/** Serves `routes`: "METHOD /path" to a function of { headers, body } that gives [status, answer]. */
export function serve(name, port, routes) {
  const server = createServer(async (request, response) => {
    let status, answer;
    try {
      const route = routes[`${request.method} ${request.url.split('?', 1)[0]}`];
      if (!route) throw new Refused(404, 'there is nothing here');
      [status, answer] = await route({ headers: request.headers, body: await read(request) });
    } catch (error) {
      if (!(error instanceof Refused)) console.error(error);
      [status, answer] = [error.status ?? 500, { error: error.status ? error.message : 'this is our fault' }];
    }
    response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
    response.end(answer === undefined ? '' : JSON.stringify(answer));
  });
  // Only the door beside it may reach it: whoever else could, could say to be anybody.
  server.listen(port, '127.0.0.1', () => console.log(`${name} on 127.0.0.1:${port}`));
}
