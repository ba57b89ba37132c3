/** Sets that follow the cluster where blocks and pods meet; the rest is said by the scenarios and properties. */
import assert from 'node:assert/strict';
import { NodeCompiler } from '../../src/compile/compile-node.ts';
import type { NodeIntent } from '../../src/compile/intent.ts';
import { objectKey, type Pod } from '../../src/policy/model.ts';
import { namespace, pod, policy } from '../support/builders.ts';

const endpoint = pod('x/endpoint', { nodeName: 'node-1', labels: { app: 'subject' }, addresses: ['10.0.0.1'] });
const peer = (labels: Record<string, string>, node = 'node-2'): Pod =>
  pod('x/peer', {
    nodeName: node,
    labels,
    addresses: ['10.0.0.5'],
    namedPorts: [{ name: 'web', protocol: 'TCP', port: 8080 }],
  });

function compiler(spec: object): NodeCompiler {
  const made = new NodeCompiler('node-1');
  made.namespace('x', namespace('x'));
  const one = policy('x/p', { podSelector: { matchLabels: { app: 'subject' } }, ...spec });
  made.policy(objectKey(one), one);
  made.pod(objectKey(endpoint), endpoint);
  return made;
}

const members = (intent: NodeIntent): unknown => {
  const sets = [...intent.addressSets.values(), ...intent.addressPortSets.values()].filter(
    ({ family }) => family === 4,
  );
  return Object.fromEntries(sets.flatMap((set) => [...set.members]));
};

describe('compiling a node', () => {
  it('a peer in the except of a block is carved in while it is selected, and carved out again afterwards', () => {
    const made = compiler({
      ingress: [
        {
          from: [
            { ipBlock: { cidr: '10.0.0.0/8', except: ['10.0.0.5/32'] } },
            { podSelector: { matchLabels: { role: 'friend' } } },
          ],
        },
      ],
    });
    made.pod('x/peer', peer({ role: 'stranger' }));
    assert.deepEqual(members(made.intent()), { '10.0.0.0/8': true, '10.0.0.5': false });
    made.pod('x/peer', peer({ role: 'friend' }));
    assert.deepEqual(members(made.intent()), { '10.0.0.0/8': true, '10.0.0.5': true });
    made.pod('x/peer', peer({ role: 'stranger' }));
    assert.deepEqual(members(made.intent()), { '10.0.0.0/8': true, '10.0.0.5': false });
  });

  it('S-44: a named port towards a block means the pods whose address is in it, as they come and go', () => {
    const made = compiler({
      policyTypes: ['Egress'],
      egress: [{ to: [{ ipBlock: { cidr: '10.0.0.4/30' } }], ports: [{ port: 'web' }] }],
    });
    assert.deepEqual(members(made.intent()), {});
    made.pod('x/peer', peer({}));
    assert.deepEqual(members(made.intent()), { '10.0.0.5,6:8080': true });
    made.pod('x/peer', { ...peer({}), addresses: ['10.0.0.9'] });
    assert.deepEqual(members(made.intent()), {});
    made.pod('x/peer', peer({}));
    made.pod('x/peer', undefined);
    assert.deepEqual(members(made.intent()), {});
  });

  it('S-41: the number follows the pod', () => {
    const made = compiler({ policyTypes: ['Egress'], egress: [{ ports: [{ port: 'web' }] }] });
    made.pod('x/peer', peer({}));
    made.pod('x/peer', { ...peer({}), namedPorts: [{ name: 'web', protocol: 'TCP', port: 9090 }] });
    assert.deepEqual(members(made.intent()), { '10.0.0.5,6:9090': true });
  });

  it('S-64: an address of the node is not a pod, whatever the status of a pod says, and that is reported', () => {
    const made = compiler({ ingress: [{ from: [{ podSelector: {} }] }] });
    made.node('node-1', { name: 'node-1', addresses: ['10.0.0.5'] });
    made.pod('x/peer', peer({}, 'node-1'));
    assert.deepEqual(members(made.intent()), { '10.0.0.1': true });
    assert.match(made.intent().problems[0]!.message, /10\.0\.0\.5 is an address of node node-1/);
    made.node('node-1', { name: 'node-1', addresses: [] });
    assert.deepEqual(members(made.intent()), { '10.0.0.1': true, '10.0.0.5': true });
    assert.deepEqual(made.intent().problems, []);
  });

  it('a pod that was the peer of a policy that is gone changes nothing', () => {
    const made = compiler({ ingress: [{ from: [{ podSelector: { matchLabels: { role: 'friend' } } }] }] });
    made.pod('x/peer', peer({ role: 'friend' }));
    made.intent();
    made.policy('x/p', undefined);
    made.intent();
    assert.equal(made.pod('x/peer', undefined), false);
  });

  it('S-08: a policy that selects no local pod costs nothing', () => {
    const made = compiler({
      podSelector: { matchLabels: { app: 'elsewhere' } },
      ingress: [{ from: [{ podSelector: {} }] }],
    });
    made.pod('x/peer', peer({}));
    const intent = made.intent();
    assert.deepEqual([intent.programs.length, intent.addressSets.size, intent.policyCount], [0, 0, 1]);
  });
});
