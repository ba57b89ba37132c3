/** Names that read the same when glued together: two policies, namespaces or pods never share a chain, a set or a verdict. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { projectPod } from '../../src/cluster/project.ts';
import { Interner } from '../../src/cluster/interner.ts';
import type { ClusterSnapshot, Flow, Pod } from '../../src/policy/model.ts';
import { namespace, policy, snapshot } from '../support/builders.ts';
import { createFakeNode, enforce } from '../support/fake-cluster.ts';
import type { FakeKernel } from '../support/fake-kernel.ts';
import { traceRules } from '../support/tracer.ts';
import { expectedHere, packetOf } from '../property/expected.ts';
import { runs } from '../property/runs.ts';

const NODE = 'node-1';

function podOf(ns: string, name: string, number: number, port: string): Pod {
  const projection = projectPod(
    {
      metadata: { namespace: ns, name, uid: `${number}`, labels: { own: `${number}` } },
      spec: { nodeName: NODE, containers: [{ ports: [{ name: port, containerPort: 1000 + number }] }] },
      status: { phase: 'Running', podIPs: [{ ip: `10.0.0.${number}` }, { ip: `fd00::${number.toString(16)}` }] },
    },
    new Interner(),
  );
  assert.ok(projection.kind === 'record');
  return projection.record;
}

interface Part {
  readonly namespace: string;
  readonly name: string;
}

/** In each namespace a pod, and a policy that lets in one outside address of its own, by number and by name of a port. */
function clusterOf(parts: readonly Part[]): ClusterSnapshot {
  const each = parts.map((part, index) => ({ ...part, number: index + 1 }));
  return snapshot({
    namespaces: [...new Set(parts.map((part) => part.namespace))].map((name) => namespace(name)),
    pods: each.map((part) => podOf(part.namespace, part.name, part.number, 'web')),
    policies: each.map((part) =>
      policy(`${part.namespace}/${part.name}`, {
        podSelector: { matchLabels: { own: `${part.number}` } },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [
          { from: [{ ipBlock: { cidr: `203.0.113.${part.number}/32` } }], ports: [{ port: part.number }] },
          { from: [{ ipBlock: { cidr: `203.0.113.${100 + part.number}/32` } }], ports: [{ port: 'web' }] },
        ],
        egress: [{ to: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': part.namespace } } }] }],
      }),
    ),
  });
}

/** Class chain of each address, in the order of the chains' rules. */
function chainsOf(kernel: FakeKernel): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const [name, rules] of kernel.state().families[4]!.chains) {
    if (!/^PCL-(EG|IN)-/.test(name)) continue;
    for (const rule of rules) {
      const [, address, chain] = /^-[sd] (\S+)\/32 -g (\S+)$/.exec(rule)!;
      found.set(address!, [...(found.get(address!) ?? []), chain!]);
    }
  }
  return found;
}

async function check(parts: readonly Part[]): Promise<void> {
  const cluster = clusterOf(parts);
  const node = createFakeNode(NODE);
  await enforce(node, cluster);
  const chains = [...chainsOf(node.kernel).values()].flat();
  assert.equal(chains.length, 2 * parts.length);
  assert.equal(new Set(chains).size, chains.length, 'a chain of its own for each pod and direction');
  const expected = expectedHere(cluster);
  const state = node.kernel.state();
  for (const [index] of parts.entries()) {
    for (const [other] of parts.entries()) {
      const [to, from] = [`10.0.0.${index + 1}`, other + 1];
      const flows: Flow[] = [
        { source: `203.0.113.${from}`, destination: to, protocol: 6, port: from },
        { source: `203.0.113.${100 + from}`, destination: to, protocol: 6, port: 1000 + from },
        { source: `10.0.0.${from}`, destination: to, protocol: 6, port: 1 },
      ];
      for (const flow of flows) {
        const { passes, why } = expected(flow);
        const { verdict, matched } = traceRules(state, packetOf(cluster, flow));
        assert.equal(verdict, passes ? 'passed' : 'dropped', `${JSON.stringify(flow)}\n${why}\n${matched.join('\n')}`);
        if (flow.source.startsWith('203.')) assert.equal(passes, index === other, 'only its own');
      }
    }
  }
}

/** `a-b-c` as a/b-c and a-b/c; the same with dots, which only the name may have. */
function splitsOf(words: readonly string[], glue: string): Part[] {
  return words.slice(1).map((_, index) => ({
    namespace: words.slice(0, index + 1).join('-'),
    name: words.slice(index + 1).join(glue),
  }));
}

describe('fuzz: names that collide when glued', () => {
  it('a/b-c, a-b/c and the like are kept apart', async () => {
    await check(splitsOf(['a', 'b', 'c', 'd'], '-'));
    await check(splitsOf(['a', 'b', 'c', 'd'], '.'));
    await check([
      ...['ingress', 'egress', 'a'].flatMap((name) =>
        ['ingress', 'egress', 'a'].map((ns) => ({ namespace: ns, name })),
      ),
    ]);
  });

  it('so are the longest names, which differ only in their last letter', async () => {
    const [ns, name] = ['n'.repeat(62), 'p'.repeat(252)];
    const parts = ['a', 'b'].flatMap((x) => ['a', 'b'].map((y) => ({ namespace: ns + x, name: name + y })));
    await check(parts);
  });

  it('so are any others', async () => {
    const word = fc
      .array(fc.constantFrom('a', 'b', '-', '4', '6'), { minLength: 1, maxLength: 4 })
      .map((all) => all.join(''));
    const parts = fc.uniqueArray(fc.record({ namespace: word, name: word }), {
      minLength: 2,
      maxLength: 6,
      selector: (part) => `${part.namespace}/${part.name}`,
    });
    await fc.assert(fc.asyncProperty(parts, check), runs(60));
  });
});
