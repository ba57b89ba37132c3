/** What one node must do with a flow, by the reference evaluator. */
import { addressOwners, claimantsOf } from '../../src/policy/address-owners.ts';
import { createEvaluator, letsPass } from '../../src/policy/evaluate.ts';
import type { ClusterSnapshot, Flow } from '../../src/policy/model.ts';
import type { Packet } from '../support/tracer.ts';
import { NODE } from './clusters.ts';

/** A flow as this node forwards it (or takes it in), and whether the evaluator lets it through the sides this node judges. */
export function expectedHere(
  snapshot: ClusterSnapshot,
): (flow: Flow) => { readonly passes: boolean; readonly why: string } {
  const owners = addressOwners(snapshot.pods.values());
  const evaluator = createEvaluator(snapshot);
  const isHere = (address: string): boolean =>
    claimantsOf(owners.get(address)).some(({ nodeName }) => nodeName === NODE);
  return (flow) => {
    // What a pod sends to itself is forwarded only if it came by way of a Service (N-71).
    const verdict = evaluator.evaluate({ ...flow, viaService: true });
    const egress = !isHere(flow.source) || letsPass(verdict.egress);
    const ingress = !isHere(flow.destination) || letsPass(verdict.ingress);
    return { passes: egress && ingress, why: JSON.stringify(verdict) };
  };
}

export function packetOf(snapshot: ClusterSnapshot, flow: Flow): Packet {
  const isToNode = snapshot.nodes.get(NODE)?.addresses.includes(flow.destination) ?? false;
  return {
    ...flow,
    family: flow.source.includes(':') ? 6 : 4,
    hook: isToNode ? 'INPUT' : 'FORWARD',
    // Echo requests; what has no ports is no neighbour discovery.
    port: flow.protocol === 58 ? 128 : flow.protocol === 1 ? 8 : flow.port,
  };
}
