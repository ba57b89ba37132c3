/**
 * A page for one person on one computer. It listens on loopback; data is given to whoever has the token, which is in the part of the address
 * that browsers keep to themselves, and only under the names of loopback: a page of somebody else that points its own name there gets nothing.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import { messageOf } from '../../core/error-text.ts';

const HOST = '127.0.0.1';
export const UI_TOKEN_HEADER = 'x-portcullis-ui-token';
/** A policy as it is edited. */
const MAX_BODY = 1024 * 1024;

interface UiPage {
  readonly html: string;
  /** Of its Content-Security-Policy. */
  readonly policy: string;
}

/** Paths -> what is answered as JSON. May reject: the message is for people. */
export type UiData = Readonly<Record<string, (body: string) => Promise<unknown>>>;

export interface UiServer {
  /** With the token. */
  readonly url: string;
  close(): Promise<void>;
}

/** Port 0: any free one. Rejects where nobody can listen there. */
export async function serveUi(port: number, page: UiPage, data: UiData): Promise<UiServer> {
  const token = randomBytes(24).toString('base64url');
  const server = createServer({ requestTimeout: 10_000 }, (request, response) => {
    void answer(request, response, { token, page, data, port: (server.address() as AddressInfo).port });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: HOST, port, exclusive: true }, resolve);
  });
  return {
    url: `http://${HOST}:${(server.address() as AddressInfo).port}/#${token}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface Serving {
  readonly token: string;
  readonly page: UiPage;
  readonly data: UiData;
  readonly port: number;
}

interface Reply {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

async function answer(request: IncomingMessage, response: ServerResponse, serving: Serving): Promise<void> {
  const { status, type, body } = await replyTo(request, serving);
  response.writeHead(status, {
    'content-type': `${type}; charset=utf-8`,
    'content-security-policy': serving.page.policy,
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'cross-origin-resource-policy': 'same-origin',
  });
  response.end(body);
}

async function replyTo(request: IncomingMessage, { token, page, data, port }: Serving): Promise<Reply> {
  const path = (request.url ?? '/').split('?', 1)[0]!;
  if (![`${HOST}:${port}`, `localhost:${port}`].includes(request.headers.host ?? ''))
    return text(403, `this page is at ${HOST}:${port} alone\n`);
  if (path === '/' && request.method === 'GET') return { status: 200, type: 'text/html', body: page.html };
  const make = Object.hasOwn(data, path) ? data[path] : undefined;
  if (!make) return text(404, 'no such page\n');
  if (!isSame(String(request.headers[UI_TOKEN_HEADER] ?? ''), token))
    return text(401, 'open the address that portcullis ui printed: the token is behind its #\n');
  if (request.method !== 'GET' && request.method !== 'POST') return text(405, 'only GET and POST\n');
  try {
    return { status: 200, type: 'application/json', body: JSON.stringify(await make(await bodyOf(request))) };
  } catch (error) {
    return text(500, `${messageOf(error)}\n`);
  }
}

/** Of equal length, so that the time it takes tells nothing. */
function isSame(given: string, token: string): boolean {
  const [a, b] = [given, token].map((value) => createHash('sha256').update(value).digest()) as [Buffer, Buffer];
  return timingSafeEqual(a, b);
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > MAX_BODY) throw new Error(`more than ${MAX_BODY} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function text(status: number, body: string): Reply {
  return { status, type: 'text/plain', body };
}
