/** Every question worth asking of a cluster: who to whom, in which family, on the ports that occur in it and on their neighbours. */
import type { MatrixEndpoint } from '../../../lab/matrix.ts';
import type { LabService, MatrixProbe, ProbeProtocol } from '../../../lab/network/types.ts';
import type { Protocol } from '../../../src/core/vocabulary.ts';
import type { ClusterSnapshot, Flow, PortMatch, Verdict } from '../../../src/policy/model.ts';
import { isEligible } from '../../../src/policy/address-owners.ts';
import { createEvaluator } from '../../../src/policy/evaluate.ts';
import { PROTOCOL_NUMBER } from '../../../src/core/vocabulary.ts';
import type { Dice } from './dice.ts';

export interface Cell {
  readonly from: MatrixEndpoint;
  readonly to: MatrixEndpoint;
  readonly family: 4 | 6;
  readonly protocol: ProbeProtocol;
  /** As the destination sees it: behind a Service its own port. */
  readonly flow: Flow;
  readonly probe: MatrixProbe;
  readonly verdict: Verdict;
  readonly predicted: boolean;
}

interface AskedPort {
  readonly protocol: ProbeProtocol;
  readonly port: number;
}

export function describeCell({ from, to, family, protocol, flow, probe }: Cell): string {
  const port = protocol === 'ICMP' ? '' : ` ${flow.port}`;
  const through = probe.address === flow.destination ? '' : ` through ${probe.address}`;
  return `${from.label} (${flow.source}) -> ${to.label} (${flow.destination}${through}) ${protocol}${port} IPv${family}`;
}

/** Most ports of one protocol that are asked about at a time. */
const MAX_PORTS = { TCP: 4, UDP: 3, SCTP: 2 } as const;

/** The ports that policies and pods speak of, and the ones next to them; a few of each protocol, and ICMP. */
export function askedPorts(dice: Dice, snapshot: ClusterSnapshot): readonly AskedPort[] {
  const ports = new Map<Protocol, Set<number>>([
    ['TCP', new Set([80])],
    ['UDP', new Set([53])],
    ['SCTP', new Set([80])],
  ]);
  const add = (protocol: Protocol, ...numbers: readonly number[]): void => {
    for (const number of numbers)
      if (number >= 1 && number <= 65535)
        for (const of of ports.keys()) if (of === protocol || number % 2 === 0) ports.get(of)!.add(number);
  };
  for (const policy of snapshot.policies.values()) {
    for (const { ports: entries } of [...policy.ingress, ...policy.egress]) {
      if (entries !== 'any') for (const entry of entries) add(entry.protocol, ...edgesOf(entry, snapshot));
    }
  }
  for (const policy of snapshot.clusterPolicies?.values() ?? []) {
    for (const { ports: entries } of [...policy.ingress, ...policy.egress]) {
      if (entries !== 'any') for (const entry of entries) add(entry.protocol, ...edgesOf(entry, snapshot));
    }
  }
  const chosen = [...ports].flatMap(([protocol, numbers]) =>
    dice
      .some(
        [...numbers].sort((a, b) => a - b),
        MAX_PORTS[protocol],
      )
      .map((port) => ({ protocol, port })),
  );
  return [...chosen, { protocol: 'ICMP', port: 0 }];
}

function edgesOf(entry: PortMatch, snapshot: ClusterSnapshot): readonly number[] {
  if (entry.kind === 'range')
    return [entry.first - 1, entry.first, entry.first + 1, entry.last - 1, entry.last, entry.last + 1];
  return [...snapshot.pods.values()].flatMap(({ namedPorts }) =>
    namedPorts.filter(({ name }) => name === entry.name).flatMap(({ port }) => [port, port + 1]),
  );
}

/** Every pair with a pod on at least one end, in both families; pods and nodes also through the Services. */
export function cellsOf(
  snapshot: ClusterSnapshot,
  endpoints: readonly MatrixEndpoint[],
  ports: readonly AskedPort[],
  services: readonly LabService[] = [],
): Cell[] {
  const evaluator = createEvaluator(snapshot);
  const cells: Cell[] = [];
  const add = (
    from: MatrixEndpoint,
    to: MatrixEndpoint,
    family: 4 | 6,
    { protocol, port }: AskedPort,
    through?: string,
  ): void => {
    const [source, destination] = [addressOf(from, family), addressOf(to, family)];
    if (source === undefined || destination === undefined) return;
    if (isUnlisted(snapshot, from, source) || isUnlisted(snapshot, to, destination)) return;
    // To conntrack all echo requests of a pair are one flow, and flows are taken to end with their pod (S-74).
    if (protocol === 'ICMP' && ![from, to].every((end) => end.kind !== 'pod' || isLive(snapshot, end, family))) return;
    const number = protocol === 'ICMP' ? PROTOCOL_NUMBER[family === 4 ? 'ICMP' : 'ICMPv6'] : PROTOCOL_NUMBER[protocol];
    const fromNode = from.hostOf === undefined ? {} : { fromNode: from.hostOf };
    // N-71: what a pod sends to itself is judged by tiers where it came by way of a Service.
    const viaService = through === undefined ? {} : ({ viaService: true } as const);
    const flow: Flow = { source, destination, protocol: number, port, ...fromNode, ...viaService };
    const probe: MatrixProbe = { from: from.key, protocol, address: through ?? destination, port };
    const verdict = evaluator.evaluate(flow);
    cells.push({ from, to, family, protocol, flow, probe, verdict, predicted: verdict.allowed });
  };
  // A host-network pod is its node: asked about under the node's own name.
  const places = endpoints.filter(({ kind, hostOf }) => kind !== 'pod' || hostOf === undefined);
  for (const family of [4, 6] as const) {
    for (const from of places) {
      for (const to of places) {
        if (from === to || (from.kind !== 'pod' && to.kind !== 'pod')) continue;
        for (const port of ports) add(from, to, family, port);
      }
    }
    for (const service of services) {
      const to = places.find(({ label }) => label === service.key);
      const address = service.clusterIPs.find((each) => each.includes(':') === (family === 6));
      if (!to || address === undefined) continue;
      for (const from of places.filter(({ kind }) => kind !== 'outside')) {
        for (const { protocol, port } of service.ports) add(from, to, family, { protocol, port }, address);
      }
    }
  }
  return cells;
}

/** One Service for each pod, named as the pod, on two of the ports. */
export function servicesFor(endpoints: readonly MatrixEndpoint[], ports: readonly AskedPort[]): LabService[] {
  const asked = (['TCP', 'UDP'] as const).flatMap((protocol) => {
    const found = ports.find((port) => port.protocol === protocol);
    return found ? [{ protocol, port: found.port }] : [];
  });
  const pods = endpoints.filter(({ kind, hostOf }) => kind === 'pod' && hostOf === undefined);
  return pods.map(({ label, addresses }, index) => ({
    key: label,
    clusterIPs: [`10.96.2.${index + 1}`, `fd00:10:96::2:${(index + 1).toString(16)}`],
    externalTrafficPolicy: 'Cluster',
    ports: asked.map((port) => ({ ...port, targets: addresses.map((address) => ({ address, port: port.port })) })),
  }));
}

/** The lab may leave a finished pod on the network, or one that no longer shows its address. */
function isLive(snapshot: ClusterSnapshot, end: MatrixEndpoint, family: 4 | 6): boolean {
  const pod = snapshot.pods.get(end.label);
  return pod !== undefined && isEligible(pod) && pod.addresses.includes(addressOf(end, family) ?? '');
}

/** An address that its pod uses and does not show beside others: its packets are judged by interface (S-56), of which the evaluator knows nothing. */
function isUnlisted(snapshot: ClusterSnapshot, { kind, label }: MatrixEndpoint, address: string): boolean {
  const pod = kind === 'pod' ? snapshot.pods.get(label) : undefined;
  return pod !== undefined && isEligible(pod) && !pod.addresses.includes(address);
}

function addressOf({ addresses }: MatrixEndpoint, family: 4 | 6): string | undefined {
  return addresses.find((address) => address.includes(':') === (family === 6));
}
