/** The reference evaluator with tiers is itself compared with a simpler one, which reads the objects as users write them. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createEvaluator, type Evaluator, letsPass } from '../../src/policy/evaluate.ts';
import { type ClusterSnapshot, type Flow, type Pod, UNKNOWN_LABELS } from '../../src/policy/model.ts';
import { parseClusterPolicy } from '../../src/policy/parse-cluster-policy.ts';
import { type NaivePod, naiveTiers } from '../support/naive-tiers.ts';
import { clusterPolicyObjects, flowsAtEdges, POD_ADDRESSES, snapshotOf, tieredParts } from './clusters.ts';
import { runs } from './runs.ts';

/** Each pod has addresses of its own, and all labels are known. */
const sureParts = tieredParts.map((parts) => {
  const known = <T extends { labels: Pod['labels'] }>(each: T): T =>
    each.labels === UNKNOWN_LABELS ? { ...each, labels: {} } : each;
  const pods = parts.pods.map((each, index) => {
    const { 4: v4, 6: v6 } = POD_ADDRESSES[index]!;
    return each.hostNetwork || each.addresses.length === 0 ? each : { ...each, addresses: [v4, v6] };
  });
  const namespaces = [...new Set(pods.map(({ namespace }) => namespace))].map((name) => {
    return { uid: '', ...parts.namespaces.find((each) => each.name === name), name };
  });
  return {
    ...parts,
    pods: pods.map(known),
    namespaces: namespaces.map((each) => known({ labels: {}, ...each })),
  };
});

const given = fc.tuple(sureParts, clusterPolicyObjects).chain(([parts, objects]) => {
  const snapshot = snapshotOf({ ...parts, clusterPolicies: objects.map((each) => parseClusterPolicy(each).policy!) });
  return fc.tuple(fc.constant(snapshot), fc.constant(objects), flowsAtEdges([snapshot], 40));
});

/** S-70: that owns the address. */
function ownerOf({ pods }: ClusterSnapshot, address: string): Pod | undefined {
  return [...pods.values()].find(
    ({ addresses, hostNetwork, phase }) =>
      addresses.includes(address) && !hostNetwork && phase !== 'Succeeded' && phase !== 'Failed',
  );
}

describe('property: the reference evaluator with tiers', () => {
  it('agrees with a simpler one on objects as users write them (N-10 to N-73, N-90 to N-93)', () => {
    const seen = { allow: 0, deny: 0, 'tier-rule': 0, passed: 0 };
    fc.assert(
      fc.property(given, ([snapshot, objects, flows]) => {
        const { clusterPolicies: _, ...untiered } = snapshot;
        const [evaluator, networkPolicies] = [createEvaluator(snapshot), createEvaluator(untiered)];
        for (const each of flows) {
          const flow: Flow = { ...each, viaService: true };
          const verdict = evaluator.evaluate(flow);
          for (const side of ['egress', 'ingress'] as const) {
            const expected = naively(snapshot, objects, networkPolicies, flow, side);
            const text = `${side} ${JSON.stringify(flow)} ${JSON.stringify(verdict[side])} ${JSON.stringify(objects)}`;
            assert.equal(letsPass(verdict[side]) ? 'allow' : 'deny', expected, text);
            seen[expected]++;
            if (verdict[side].kind === 'tier-rule') seen['tier-rule']++;
            if (verdict[side].passedBy?.length) seen.passed++;
          }
        }
      }),
      runs(150),
    );
    const isEnough = seen.deny > 500 && seen['tier-rule'] > 300 && seen.passed > 40;
    assert.ok(isEnough, `not much was tried: ${JSON.stringify(seen)}`);
  });
});

function naively(
  snapshot: ClusterSnapshot,
  objects: Parameters<typeof naiveTiers>[0],
  networkPolicies: Evaluator,
  flow: Flow,
  side: 'ingress' | 'egress',
): 'allow' | 'deny' {
  const { source, destination, protocol, port } = flow;
  const [own, peerAddress] = side === 'egress' ? [source, destination] : [destination, source];
  const [subject, peer] = [ownerOf(snapshot, own), ownerOf(snapshot, peerAddress)];
  // N-40; nobody enforces anything for a pod without a node.
  if (subject?.nodeName === undefined) return 'allow';
  return naiveTiers(objects, {
    side,
    subject: naivePod(snapshot, subject),
    peer: peer && naivePod(snapshot, peer),
    peerAddress,
    namedPorts: ownerOf(snapshot, destination)?.namedPorts ?? [],
    protocol,
    port,
    nodes: [...(snapshot.labelledNodes?.values() ?? [])],
    networkPolicies: networkPoliciesOn(networkPolicies, flow, side),
  });
}

function naivePod({ namespaces }: ClusterSnapshot, { namespace, labels, namedPorts }: Pod): NaivePod {
  return { namespaceLabels: namespaces.get(namespace)!.labels, labels, namedPorts };
}

/** A pod's way to itself is exempt (S-62), and isolated no less: what a stranger would meet tells (N-65). */
function networkPoliciesOn(
  networkPolicies: Evaluator,
  flow: Flow,
  side: 'ingress' | 'egress',
): 'allow' | 'deny' | undefined {
  const { kind } = networkPolicies.evaluate(flow)[side];
  if (kind !== 'exempt') return kind === 'allowed' ? 'allow' : kind === 'denied' ? 'deny' : undefined;
  const stranger = flow.source.includes(':') ? '2001:db8:1::1' : '198.51.100.1';
  const far = side === 'egress' ? { ...flow, destination: stranger } : { ...flow, source: stranger };
  return networkPolicies.evaluate(far)[side].kind === 'not-isolated' ? undefined : 'allow';
}
