/** A process that is fed objects as a watch would bring them: `feed-hostile.ts KIND MEGABYTES`. Prints what became of them as JSON. */
import { LineSplitter } from '../../src/cluster/split-bytes.ts';
import { apiPolicy, PolicyWatch, rulesOf } from './policies.ts';

const CHUNK = 64 * 1024;
const [kind = '', megabytes = '0'] = process.argv.slice(2);

const OBJECTS: Readonly<Record<string, (n: number) => unknown>> = {
  'long policies': (n) => apiPolicy(`p${n}`, { created: n, spec: { ingress: rulesOf(900_000, n) } }),
  'policies of many namespaces': (n) =>
    apiPolicy('p', { namespace: `n${n}`, created: n, spec: { ingress: rulesOf(900_000, n) } }),
  'middling policies': (n) => apiPolicy(`p${n}`, { created: n, spec: { ingress: rulesOf(20_000, n) } }),
  'empty rules': (n) =>
    apiPolicy(`p${n}`, { created: n, spec: { ingress: Array.from({ length: 300_000 }, () => ({})) } }),
  'short policies': (n) => apiPolicy(`p${n}`, { created: n, spec: { ingress: rulesOf(2_000, n) } }),
};

function used(): number {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const watch = new PolicyWatch(undefined, () => {});
const lines = new LineSplitter();
const objectOf = OBJECTS[kind]!;
const before = used();
let bytes = 0;
let objects = 0;
for (; bytes < Number(megabytes) * 1e6; objects++) {
  const line = Buffer.from(`${JSON.stringify({ type: 'ADDED', object: objectOf(objects) })}\n`);
  bytes += line.length;
  for (let at = 0; at < line.length; at += CHUNK)
    for (const each of lines.push(line.subarray(at, at + CHUNK))) watch.hear(each);
}
const { records, problems } = watch.store;
const open = [...records.values()].filter(({ text }) => text !== undefined).length;
const result = { objects, kept: records.size, open, problems: problems.length, grownMB: (used() - before) / 1e6 };
console.log(JSON.stringify(result));
