import assert from 'node:assert/strict';
import { loadSnapshot, NodeCompiler } from '../../src/compile/compile-node.ts';
import { compileNode } from '../support/stages.ts';
import { acceptRules } from '../../src/compile/program.ts';
import type { NodeIntent } from '../../src/compile/intent.ts';
import { createEvaluator } from '../../src/policy/evaluate.ts';
import type { Pod, Policy } from '../../src/policy/model.ts';
import { pod, policy, problemText, snapshot } from '../support/builders.ts';

const SHARED = '10.244.1.5';
const OTHER = '10.244.1.9';
const DENY_A = policy('x/deny-a', { podSelector: { matchLabels: { pod: 'a' } }, policyTypes: ['Ingress'] });
const DENY_B = policy('x/deny-b', { podSelector: { matchLabels: { pod: 'b' } }, policyTypes: ['Ingress'] });

function allowing(key: string, name: string): Policy {
  return policy(key, {
    podSelector: { matchLabels: { pod: name } },
    policyTypes: ['Ingress'],
    ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'client' } } }] }],
  });
}

const client = pod('x/client', { addresses: [OTHER] });
const a = pod('x/a', { addresses: [SHARED] });
const b = pod('x/b', { addresses: [SHARED] });

function intentOf(pods: readonly Pod[], policies: readonly Policy[], node = 'node-1'): NodeIntent {
  return compileNode(snapshot({ pods: [client, ...pods], policies }), node);
}

/** How the shared address is isolated: the rules of its program, or nothing. */
function ingressOf(intent: NodeIntent): { readonly policies: readonly string[]; readonly rules: number } | undefined {
  const endpoints = intent.endpoints.filter(({ addresses }) => addresses.includes(SHARED));
  assert.ok(endpoints.length <= 1, 'one endpoint for one address');
  const found = intent.programs.find(({ key }) => key === endpoints[0]?.programs.ingress);
  return found && { policies: found.policies.map(({ name }) => name), rules: acceptRules(found).length };
}

function reachesByEvaluator(pods: readonly Pod[], policies: readonly Policy[]): boolean {
  const flow = { source: OTHER, destination: SHARED, protocol: 6, port: 80 };
  return createEvaluator(snapshot({ pods: [client, ...pods], policies })).evaluate(flow).allowed;
}

describe('fault: two pods show one address, and nothing tells whose it is', () => {
  it('it is isolated where one of them is, by that one (S-73)', () => {
    for (const pods of [
      [a, b],
      [b, a],
    ]) {
      assert.deepEqual(ingressOf(intentOf(pods, [DENY_A])), { policies: ['deny-a'], rules: 0 });
      assert.deepEqual(ingressOf(intentOf(pods, [allowing('x/some', 'b')])), { policies: ['some'], rules: 1 });
      assert.equal(reachesByEvaluator(pods, [DENY_A]), false);
      assert.equal(reachesByEvaluator(pods, [allowing('x/some', 'b')]), true);
    }
  });

  it('it is open where neither is isolated (S-02)', () => {
    const intent = intentOf([a, b], []);
    assert.equal(ingressOf(intent), undefined);
    assert.ok(intent.localAddresses.has(SHARED));
    assert.equal(reachesByEvaluator([a, b], []), true);
  });

  it('replicas have what they have in common; other policies for each close it', () => {
    const twin = { ...b, labels: a.labels };
    assert.deepEqual(ingressOf(intentOf([a, twin], [allowing('x/some', 'a')])), { policies: ['some'], rules: 1 });
    const both = [allowing('x/to-a', 'a'), allowing('x/to-b', 'b')];
    assert.deepEqual(ingressOf(intentOf([a, b], both)), { policies: ['to-a', 'to-b'], rules: 0 });
    assert.equal(reachesByEvaluator([a, b], both), false);
  });

  it('pods of two namespaces and of two nodes are both asked', () => {
    const far = pod('y/b', { addresses: [SHARED], nodeName: 'node-2' });
    const deny = policy('y/deny', { podSelector: {}, policyTypes: ['Ingress'] });
    for (const node of ['node-1', 'node-2']) {
      assert.deepEqual(ingressOf(intentOf([a, far], [deny], node)), { policies: ['deny'], rules: 0 });
      assert.deepEqual(ingressOf(intentOf([a, far], [DENY_A, deny], node)), {
        policies: ['deny-a', 'deny'],
        rules: 0,
      });
    }
    assert.equal(ingressOf(intentOf([a, far], [deny], 'node-3')), undefined);
  });

  it('as a peer it is what both are, with ports that both name (S-40)', () => {
    const port = { name: 'web', protocol: 'TCP', port: 80 } as const;
    const server = pod('x/server', { addresses: ['10.244.1.7'] });
    const from = (labels: object): Policy =>
      policy('x/from', {
        podSelector: { matchLabels: { pod: 'server' } },
        ingress: [{ from: [{ podSelector: labels }] }],
      });
    const reaches = (pods: readonly Pod[], rule: Policy): boolean => {
      const cluster = snapshot({ pods: [server, ...pods], policies: [rule] });
      const sets = [...compileNode(cluster, 'node-1').addressSets.values()];
      const flow = { source: SHARED, destination: '10.244.1.7', protocol: 6, port: 80 };
      const { allowed } = createEvaluator(cluster).evaluate(flow);
      assert.equal(
        sets.some(({ members }) => members.has(SHARED)),
        allowed,
      );
      return allowed;
    };
    assert.equal(reaches([a, b], from({})), true);
    assert.equal(reaches([a, b], from({ matchLabels: { pod: 'a' } })), false);
    assert.equal(reaches([a, { ...b, labels: a.labels }], from({ matchLabels: { pod: 'a' } })), true);
    assert.equal(reaches([a, pod('y/a', { addresses: [SHARED] })], from({})), false);
    const named = policy('x/web', {
      podSelector: {},
      policyTypes: ['Ingress'],
      ingress: [{ ports: [{ port: 'web' }] }],
    });
    assert.equal(
      reachesByEvaluator(
        [
          { ...a, namedPorts: [port] },
          { ...b, namedPorts: [port] },
        ],
        [named],
      ),
      true,
    );
    assert.equal(reachesByEvaluator([{ ...a, namedPorts: [port] }, b], [named]), false);
    const entries = (pods: readonly Pod[]): boolean =>
      [...intentOf(pods, [named]).addressPortSets.values()].some(({ members }) => members.has(`${SHARED},6:80`));
    assert.equal(
      entries([
        { ...a, namedPorts: [port] },
        { ...b, namedPorts: [port] },
      ]),
      true,
    );
    assert.equal(entries([{ ...a, namedPorts: [port] }, b]), false);
  });

  it('a problem names both, until one of them is known to have it', () => {
    const compiler = new NodeCompiler('node-1');
    loadSnapshot(compiler, snapshot({ pods: [client, a, b], policies: [DENY_A, DENY_B] }));
    const texts = compiler.intent().problems.map(problemText);
    assert.equal(texts.length, 1);
    assert.match(texts[0]!, /^Pod x\/a: status\.podIPs 10\.244\.1\.5 is shown by pods x\/a and x\/b, .*Delete the pod/);
    assert.equal(compiler.intent(), compiler.intent());
    assert.equal(compiler.pod('x/b', { ...b, terminating: true }), true);
    assert.deepEqual(compiler.intent().problems, []);
    assert.deepEqual(ingressOf(compiler.intent()), { policies: ['deny-a'], rules: 0 });
    compiler.pod('x/b', b);
    assert.equal(compiler.intent().problems.length, 1);
    compiler.pod('x/a', undefined);
    assert.deepEqual(compiler.intent().problems, []);
    assert.deepEqual(ingressOf(compiler.intent()), { policies: ['deny-b'], rules: 0 });
  });

  it('other addresses of the two stay their own', () => {
    const own = { ...a, addresses: [SHARED, 'fd00::5'] };
    const { endpoints } = intentOf([own, b], [DENY_A, DENY_B]);
    assert.deepEqual(
      endpoints.map(({ pod: key, addresses }) => [key, addresses]),
      [
        ['x/a', ['fd00::5']],
        ['x/a', [SHARED]],
      ],
    );
  });
});
