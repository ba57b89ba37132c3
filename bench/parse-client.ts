/**
 * The least anyone must do with a cluster's objects, for suite *start*: read the bytes, JSON.parse each line, keep nothing.
 * Arguments: `tls`, a port, a folder with token and CA (all three lists at once, as the agent does), optionally a file to save the
 * bytes in; or `file` and that file. Says `parsed` and how many lines.
 */
import { createReadStream, createWriteStream, readFileSync } from 'node:fs';
import { get } from 'node:https';
import { join } from 'node:path';
import type { Readable } from 'node:stream';

const [mode, ...args] = process.argv.slice(2);
const PATHS = ['/api/v1/pods', '/api/v1/namespaces', '/apis/networking.k8s.io/v1/networkpolicies'];
const QUERY = 'watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan';
const END = Buffer.from('"type":"BOOKMARK"');
const NEWLINE = 0x0a;
let lines = 0;

if (mode === 'file') await parseAll(createReadStream(args[0]!, { highWaterMark: 64 * 1024 }));
else await readLists(args[0]!, args[1]!, args[2]);
console.log(`parsed ${lines}`);
process.exit(0);

async function readLists(port: string, folder: string, saveTo: string | undefined): Promise<void> {
  const ca = readFileSync(join(folder, 'ca.crt'));
  const authorization = `Bearer ${readFileSync(join(folder, 'token'), 'utf8')}`;
  const file = saveTo === undefined ? undefined : createWriteStream(saveTo);
  const all = PATHS.map(async (path) => {
    const url = `https://127.0.0.1:${port}${path}?${QUERY}`;
    const response = await new Promise<Readable>((resolve, reject) =>
      get(url, { ca, headers: { authorization } }, resolve).on('error', reject),
    );
    await parseAll(response, (chunk) => file?.write(chunk));
  });
  await Promise.all(all);
  await new Promise<void>((resolve) => (file ? file.end(resolve) : resolve()));
}

async function parseAll(bytes: AsyncIterable<Buffer>, keep: (line: Buffer) => void = () => {}): Promise<void> {
  let rest = Buffer.alloc(0);
  for await (const chunk of bytes) {
    const all = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let start = 0;
    for (let end = all.indexOf(NEWLINE); end >= 0; end = all.indexOf(NEWLINE, start)) {
      const line = all.subarray(start, end + 1);
      start = end + 1;
      keep(line);
      JSON.parse(line.toString('utf8'));
      lines++;
      if (mode === 'tls' && line.indexOf(END) >= 0) return;
    }
    rest = Buffer.from(all.subarray(start));
  }
}
