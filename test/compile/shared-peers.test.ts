/** Rules that always apply together share a set once there are many of them, and let in what they let in one by one. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { compileNode } from '../support/stages.ts';
import { acceptRules } from '../../src/compile/program.ts';
import { MAX_OWN_PORTS, MAX_OWN_SETS } from '../../src/compile/shared-peers.ts';
import type { NodeIntent } from '../../src/compile/intent.ts';
import { crowdedCluster, flowsAtEdges, NODE } from '../property/clusters.ts';
import { expectedHere, packetOf } from '../property/expected.ts';
import { runs } from '../property/runs.ts';
import { pod, policy, snapshot } from '../support/builders.ts';
import { createFakeNode, enforce } from '../support/fake-cluster.ts';
import { isJoint, isJointOfBlocks, sharedSets } from '../support/shared-sets.ts';
import { traceRules } from '../support/tracer.ts';

const MANY = MAX_OWN_SETS + 1;
const MANY_PORTS = MAX_OWN_PORTS + 1;
const SELECTOR = { matchLabels: { app: 'subject' } };
const HTTP = [{ port: 80 }];

/** Selects what SELECTOR does, but for pods with the label `word-<n>`. */
function inOwnWords(n: number): object {
  return { ...SELECTOR, matchExpressions: [{ key: `word-${n}`, operator: 'DoesNotExist' }] };
}

/** Policy number n lets peer number n in. */
function compiled(count: number, spec: (n: number) => object): NodeIntent {
  const endpoint = pod('x/endpoint', { labels: { app: 'subject' }, addresses: ['10.0.0.1'] });
  const peers = Array.from({ length: count }, (_, n) =>
    pod(`x/peer-${n}`, { nodeName: 'node-2', labels: { peer: `p${n}` }, addresses: [`10.0.1.${n}`] }),
  );
  const policies = peers.map((_, n) => policy(`x/p${n}`, { podSelector: SELECTOR, ...spec(n) }));
  return compileNode(snapshot({ pods: [endpoint, ...peers], policies }), 'node-1');
}

const from = (n: number): object[] => [{ podSelector: { matchLabels: { peer: `p${n}` } } }];
const sizes = (intent: NodeIntent): number[] =>
  [...intent.addressSets.values()].filter(({ family }) => family === 4).map(({ members }) => members.size);

/** Entries of the sets of (peer, port), sorted. */
const entries = (intent: NodeIntent): string[][] =>
  [...intent.addressPortSets.values()]
    .filter(({ family }) => family === 4)
    .map(({ members }) => [...members.keys()].sort());

describe('rules that share a set', () => {
  it('few rules keep their own', () => {
    const intent = compiled(MAX_OWN_SETS, (n) => ({ ingress: [{ from: from(n), ports: HTTP }] }));
    assert.deepEqual(sizes(intent), Array(MAX_OWN_SETS).fill(1));
  });

  it('many rules for the same ports share one, and the one clause names all policies', () => {
    const intent = compiled(MANY, (n) => ({ ingress: [{ from: from(n), ports: HTTP }] }));
    assert.deepEqual(sizes(intent), [MANY]);
    const clauses = intent.programs.flatMap(acceptRules);
    assert.deepEqual(
      clauses.map(({ by }) => by.map(({ policy: from }) => from.name)),
      [Array.from({ length: MANY }, (_, n) => `p${n}`)],
    );
  });

  it('a few rules for other ports do not', () => {
    const intent = compiled(MAX_OWN_PORTS, (n) => ({ ingress: [{ from: from(n), ports: [{ port: 80 + n }] }] }));
    assert.deepEqual(sizes(intent), Array(MAX_OWN_PORTS).fill(1));
    assert.deepEqual(entries(intent), []);
  });

  it('many rules for ports of their own share one of peers with their ports, and the one clause names all policies', () => {
    const spec = (n: number): object => ({
      podSelector: inOwnWords(n),
      ingress: [{ from: from(n), ports: [{ port: 80 + n }, { protocol: 'UDP', port: 53 }] }],
      egress: [{ to: from(n), ports: [{ protocol: 'SCTP', port: 90 + n, endPort: 91 + n }] }],
    });
    const intent = compiled(MANY_PORTS, spec);
    const numbers = Array.from({ length: MANY_PORTS }, (_, n) => n);
    const ingress = numbers.flatMap((n) => [`10.0.1.${n},6:${80 + n}`, `10.0.1.${n},17:53`]);
    const egress = numbers.flatMap((n) => [`10.0.1.${n},132:${90 + n}`, `10.0.1.${n},132:${91 + n}`]);
    assert.deepEqual(new Set(entries(intent)), new Set([ingress.sort(), egress.sort()]));
    assert.deepEqual(sizes(intent), []);
    for (const program of intent.programs) {
      const { direction } = program;
      const clauses = acceptRules(program);
      const address = direction === 'ingress' ? 'source' : 'destination';
      for (const { ports } of clauses) assert.equal(ports.kind === 'address-port' && ports.address, address);
      assert.deepEqual(
        clauses.map(({ by }) => by.map(({ policy: from }) => from.name)),
        [numbers.map((n) => `p${n}`)],
      );
    }
  });

  it('a peer has the ports of all rules that select it', () => {
    const intent = compiled(MANY_PORTS, (n) => ({
      ingress: [
        {
          from: n === 0 ? [{ podSelector: { matchExpressions: [{ key: 'peer', operator: 'Exists' }] } }] : from(n),
          ports: [{ port: 80 + n }],
        },
      ],
    }));
    const [found] = entries(intent);
    assert.equal(found!.length, 2 * MANY_PORTS - 1);
    assert.ok(found!.includes('10.0.1.3,6:80') && found!.includes('10.0.1.3,6:83'));
  });

  it('blocks, everybody, wide ranges and many ports for the same peers stay out of it', () => {
    const odd: Readonly<Record<number, object>> = {
      0: { from: [{ ipBlock: { cidr: '10.0.0.0/8' } }], ports: [{ port: 80 }] },
      1: { ports: [{ port: 81 }] },
      2: { from: from(2), ports: [{ port: 82, endPort: 90 }] },
      3: { from: from(3), ports: [{ port: 83 }, { port: 90 }, { port: 92 }, { port: 94 }, { port: 96 }] },
      4: { from: from(4) },
    };
    const intent = compiled(MANY_PORTS + 5, (n) => ({
      ingress: [odd[n] ?? { from: from(n), ports: [{ port: 80 + n }] }],
    }));
    const ordinary = Array.from({ length: MANY_PORTS }, (_, n) => `10.0.1.${n + 5},6:${n + 85}`);
    assert.deepEqual(entries(intent), [ordinary.sort()]);
    // The block needs no set: it is asked for in the rule.
    assert.deepEqual(sizes(intent), [1, 1, 1]);
  });

  describe('blocks', () => {
    const blockOf = (n: number, ...except: readonly string[]): object => ({
      ipBlock: { cidr: `10.${n}.0.0/16`, except },
    });
    const peersOf = (intent: NodeIntent): unknown[] => acceptRules(intent.programs[0]!).map(({ peers }) => peers[4]);

    it('one block alone is no set, one with an exception is', () => {
      const intent = compiled(2, (n) => ({
        ingress: [{ from: [n === 0 ? blockOf(0) : blockOf(1, '10.1.2.0/24')], ports: HTTP }],
      }));
      assert.deepEqual(peersOf(intent)[0], { kind: 'block', cidr: '10.0.0.0/16' });
      assert.equal(intent.addressSets.size, 1);
    });

    it('blocks that make up one block are one, all addresses are any', () => {
      const halves = [{ ipBlock: { cidr: '10.0.0.0/9' } }, { ipBlock: { cidr: '10.128.0.0/9' } }];
      assert.deepEqual(peersOf(compiled(1, () => ({ ingress: [{ from: halves }] }))), [
        { kind: 'block', cidr: '10.0.0.0/8' },
      ]);
      const all = [{ ipBlock: { cidr: '0.0.0.0/1' } }, { ipBlock: { cidr: '128.0.0.0/1' } }];
      assert.deepEqual(peersOf(compiled(1, () => ({ ingress: [{ from: all }] }))), [{ kind: 'any' }]);
    });

    it('many with ports of their own share one set, in which the longest prefix decides for each port', () => {
      const intent = compiled(MANY_PORTS, (n) => ({
        ingress: [
          {
            from: [n === 0 ? { ipBlock: { cidr: '0.0.0.0/0', except: ['10.0.0.0/8'] } } : blockOf(n, `10.${n}.9.0/24`)],
            ports: [{ port: 80 + n }, { port: 443 }],
          },
        ],
      }));
      assert.equal(acceptRules(intent.programs[0]!).length, 1);
      const [set, ...others] = [...intent.addressPortSets.values()];
      assert.deepEqual([others, set!.family, set!.holds], [[], 4, 'prefixes']);
      const has = (member: string): boolean | undefined => set!.members.get(member);
      assert.deepEqual(
        [has('10.3.0.0/16,6:83'), has('10.3.9.0/24,6:83'), has('10.3.0.0/16,6:82')],
        [true, false, undefined],
      );
      assert.deepEqual(
        [has('0.0.0.0/1,6:443'), has('10.0.0.0/8,6:443'), has('10.3.9.0/24,6:443')],
        [true, false, false],
      );
    });

    it('a rule of pods and blocks is in one set of each', () => {
      const intent = compiled(MANY_PORTS, (n) => ({
        ingress: [{ from: [...from(n), blockOf(n)], ports: [{ port: 80 + n }] }],
      }));
      const [pods, blocks] = acceptRules(intent.programs[0]!);
      assert.equal(acceptRules(intent.programs[0]!).length, 2);
      assert.deepEqual([pods!.by.length, blocks!.by.length], [MANY_PORTS, MANY_PORTS]);
      const members = [...intent.addressPortSets.values()]
        .filter(({ family }) => family === 4)
        .map(({ members: all }) => [...all.keys()]);
      assert.deepEqual(
        members.map((all) => all.length),
        [MANY_PORTS, MANY_PORTS],
      );
    });

    it('wide ranges keep rules of their own, many ports for everybody become a set', () => {
      const wide = compiled(MANY_PORTS, (n) => ({
        ingress: [{ from: [blockOf(n)], ports: [{ port: 80 + n, endPort: 8000 }] }],
      }));
      assert.deepEqual([acceptRules(wide.programs[0]!).length, wide.addressPortSets.size], [MANY_PORTS, 0]);
      const ports = Array.from({ length: 200 }, (_, n) => ({ port: 80 + 2 * n }));
      const many = compiled(1, () => ({ ingress: [{ ports }] }));
      assert.deepEqual(
        [...many.addressPortSets.values()].map(({ family, members }) => [family, members.size]),
        [
          [4, 400],
          [6, 400],
        ],
      );
      const ranges = compiled(1, () => ({
        ingress: [{ ports: ports.map(({ port }) => ({ port, endPort: port + 300 })) }],
      }));
      assert.equal(ranges.addressPortSets.size, 0);
    });
  });

  it('sets of (peer, port) are one where they mean the same, in whatever order, and apart where ports or peers differ', () => {
    const ofTwoApps = (portOf: (app: string, n: number) => number, distance = 0): NodeIntent => {
      const apps = ['a', 'b'];
      const endpoints = apps.map((app, n) => pod(`x/${app}`, { labels: { app }, addresses: [`10.0.0.${n + 1}`] }));
      const policies = apps.flatMap((app) =>
        Array.from({ length: MANY_PORTS }, (_, n) => {
          const peer = (portOf(app, n) % 100) + (app === 'a' ? 0 : distance);
          const ingress = [{ from: from(peer), ports: [{ port: portOf(app, n) }] }];
          return policy(`x/${app}${n}`, { podSelector: { matchLabels: { app } }, ingress });
        }),
      );
      return compileNode(snapshot({ pods: endpoints, policies }), 'node-1');
    };
    assert.equal(entries(ofTwoApps((app, n) => 100 + (app === 'a' ? n : MANY_PORTS - 1 - n))).length, 1);
    assert.equal(entries(ofTwoApps((app, n) => (app === 'a' ? 100 : 200) + n)).length, 2);
    assert.equal(entries(ofTwoApps((_, n) => 100 + n, 1)).length, 2);
  });

  it('where blocks leave few that could share one, none do', () => {
    const intent = compiled(2 * MAX_OWN_PORTS, (n) => ({
      ingress: [
        { from: n < MAX_OWN_PORTS ? [{ ipBlock: { cidr: `10.${n}.0.0/16` } }] : from(n), ports: [{ port: 80 + n }] },
      ],
    }));
    assert.deepEqual(entries(intent), []);
  });

  it('many rules for the same peers become one for all their ports, on one set of peers', () => {
    const oneByOne = (count: number): object[] =>
      Array.from({ length: count }, (_, index) => ({ from: from(0), ports: [{ port: 80 + 2 * index }] }));
    const intent = compiled(1, () => ({ ingress: oneByOne(MANY_PORTS) }));
    assert.deepEqual([sizes(intent), entries(intent)], [[1], []]);
    const rangeCounts = ({ programs }: NodeIntent): (number | undefined)[] =>
      acceptRules(programs[0]!).map(({ ports }) => (ports.kind === 'ranges' ? ports.ranges.length : undefined));
    assert.deepEqual(rangeCounts(intent), [MANY_PORTS]);
    const few = compiled(1, () => ({ ingress: oneByOne(MAX_OWN_PORTS) }));
    assert.deepEqual(rangeCounts(few), Array(MAX_OWN_PORTS).fill(1));
    assert.deepEqual(
      acceptRules(intent.programs[0]!).map(({ by }) => by.map(({ index }) => index)),
      [Array.from({ length: MANY_PORTS }, (_, index) => index)],
    );
  });

  it('policies that select the same local pods in many words share one, few keep their own', () => {
    const inWords = (count: number): NodeIntent =>
      compiled(count, (n) => ({ podSelector: inOwnWords(n), ingress: [{ from: from(n), ports: HTTP }] }));
    assert.deepEqual(sizes(inWords(MANY)), [MANY]);
    assert.deepEqual(sizes(inWords(MAX_OWN_SETS)), Array(MAX_OWN_SETS).fill(1));
  });

  it('what equal words put together counts as one', () => {
    const twoSelectors = compiled(2 * MANY, (n) => ({
      podSelector: inOwnWords(n % 2),
      ingress: [{ from: from(n), ports: HTTP }],
    }));
    assert.deepEqual(sizes(twoSelectors), [MANY, MANY]);
  });

  it('one rule that lets anybody in makes the set needless', () => {
    const intent = compiled(MANY, (n) => ({ ingress: [{ ...(n === 2 ? {} : { from: from(n) }), ports: HTTP }] }));
    assert.deepEqual(sizes(intent), []);
  });

  it('whatever the rules say, the verdicts are those of the evaluator', async function () {
    this.timeout(60_000);
    const seen = { passed: 0, dropped: 0, samePorts: 0, ownPorts: 0, blockPorts: 0, parted: 0 };
    const withFlows = crowdedCluster.chain((each) => fc.tuple(fc.constant(each), flowsAtEdges([each.crowded], 40)));
    await fc.assert(
      fc.asyncProperty(withFlows, async ([{ crowded, whole }, flows]) => {
        const node = createFakeNode(NODE);
        await enforce(node, crowded);
        const expected = expectedHere(crowded);
        const [shared, otherwise] = [crowded, whole].map((one) => sharedSets(compileNode(one, NODE)));
        if ([...shared!].some((key) => !isJoint(key))) seen.samePorts++;
        if ([...shared!].some(isJoint)) seen.ownPorts++;
        if ([...shared!].some(isJointOfBlocks)) seen.blockPorts++;
        if (shared!.size > 0 && [...shared!].some((key) => !otherwise!.has(key))) seen.parted++;
        for (const flow of flows) {
          const { passes, why } = expected(flow);
          const { verdict, matched } = traceRules(node.kernel.state(), packetOf(crowded, flow));
          seen[verdict]++;
          assert.equal(
            verdict,
            passes ? 'passed' : 'dropped',
            `${JSON.stringify(flow)}\n${why}\n${matched.join('\n')}`,
          );
        }
      }),
      runs(80),
    );
    const { passed, dropped, samePorts, ownPorts, blockPorts, parted } = seen;
    const kinds = samePorts > 2 && ownPorts + blockPorts > 3 && parted > 0;
    const enough = passed > 300 && dropped > 60 && kinds;
    assert.ok(enough, `not much was tried: ${JSON.stringify(seen)}`);
  });
});
