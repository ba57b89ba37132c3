/** A process that is fed objects as watches would bring them: `feed-hostile.ts MEGABYTES`. Prints what became of each kind as JSON. */
import { LineSplitter } from '../../src/cluster/split-bytes.ts';
import { readEvent } from '../../src/cluster/read-answer.ts';
import { isEligible } from '../../src/policy/address-owners.ts';
import { LabelBudget } from '../../src/cluster/label-budget.ts';
import { projectPod } from '../../src/cluster/project.ts';
import { ObjectStore } from '../../src/cluster/store.ts';
import type { Pod } from '../../src/policy/model.ts';
import { PolicyWatch } from './policy-watch.ts';
import { apiPod, apiPolicy, rulesOf } from '../support/api-objects.ts';

const CHUNK = 64 * 1024;
const megabytes = Number(process.argv[2]);

const labelsOf = (count: number, seed: number): Record<string, string> =>
  Object.fromEntries(
    Array.from({ length: count }, (_, n) => [`key-${seed}-${n}`.padEnd(60, 'x'), `${n}`.padEnd(50, 'y')]),
  );
const address = (n: number): string => `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`;

/** Megabytes of each kind add up to all. */
const OBJECTS: Readonly<Record<string, { readonly part: number; readonly make: (n: number) => unknown }>> = {
  'long policies': {
    part: 0.25,
    make: (n) => apiPolicy(`p${n}`, { namespace: 'long', created: n, spec: { ingress: rulesOf(900_000, n) } }),
  },
  'policies of many namespaces': {
    part: 0.15,
    make: (n) => apiPolicy('p', { namespace: `n${n}`, created: n, spec: { ingress: rulesOf(1_100_000, n) } }),
  },
  'middling policies': {
    part: 0.1,
    make: (n) => apiPolicy(`p${n}`, { namespace: 'middling', created: n, spec: { ingress: rulesOf(20_000, n) } }),
  },
  'empty rules': {
    part: 0.1,
    make: (n) => apiPolicy(`p${n}`, { namespace: 'empty', created: n, spec: { ingress: Array(300_000).fill({}) } }),
  },
  'short policies': {
    part: 0.1,
    make: (n) => apiPolicy(`p${n}`, { namespace: 'short', created: n, spec: { ingress: rulesOf(500, n) } }),
  },
  'pods that wait': {
    part: 0.1,
    make: (n) => ({ ...apiPod(`w${n}`, { labels: labelsOf(9_000, n) }), status: { phase: 'Pending' } }),
  },
  'pods with very many labels': {
    part: 0.05,
    make: (n) => apiPod(`v${n}`, { labels: labelsOf(9_000, n), ip: address(n) }),
  },
  'pods with many labels': { part: 0.15, make: (n) => apiPod(`m${n}`, { labels: labelsOf(70, n), ip: address(n) }) },
};

const policies = new PolicyWatch(undefined, () => {});
const pods = new ObjectStore<Pod>({
  project: projectPod,
  namespaced: true,
  uidOf: ({ uid }) => uid,
  onChange: () => {},
  matters: isEligible,
  budget: new LabelBudget(),
});

function used(): number {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return (heapUsed + external) / 1e6;
}

function feed(make: (n: number) => unknown, bytes: number): number {
  const lines = new LineSplitter();
  let objects = 0;
  for (let fed = 0; fed < bytes; objects++) {
    const object = make(objects) as { readonly kind: string };
    const line = Buffer.from(`${JSON.stringify({ type: 'ADDED', object })}\n`);
    fed += line.length;
    for (let at = 0; at < line.length; at += CHUNK) {
      for (const each of lines.push(line.subarray(at, at + CHUNK))) {
        if (object.kind === 'Pod') pods.upsert(readEvent(each)!.object, 0);
        else policies.hear(each);
      }
    }
  }
  return objects;
}

const before = used();
const fed = Object.entries(OBJECTS).map(([kind, { part, make }]) => {
  const start = used();
  return { kind, objects: feed(make, part * megabytes * 1e6), grownMB: used() - start };
});
const problems = policies.store.problems.length + pods.problems.length;
const kept = { policies: policies.store.records.size, pods: pods.records.size };
console.log(JSON.stringify({ fed, kept, problems, grownMB: used() - before }));
