/** A denied packet in the cluster's words: whose its ends are, which policies isolate, and what of their nearest rules does not hold. */
import type { Direction } from '../core/vocabulary.ts';
import type { AddressDirectory, AddressOwner } from '../compile/address-directory.ts';
import type { Denial, DenialVerdict } from '../dataplane/denial.ts';
import type { LoggedPacket } from '../host/packet-log.ts';
import type { PodInterface } from '../host/pod-interfaces.ts';
import type { ClusterSnapshot, DirectionVerdict, Flow, Pod } from '../policy/model.ts';

import { formatCidr } from '../net/cidr.ts';
import { ownerAmong } from '../policy/address-owners.ts';
import { type AddressOwners, connectionOf } from '../policy/connection.ts';
import { judgeDirection, letsPass } from '../policy/evaluate.ts';
import { explainDenial, protocolName, reasonText } from '../policy/explain-denial.ts';
import { explainDirection } from '../policy/explain-verdict.ts';
import { objectKey } from '../policy/model.ts';

/** A pod may be isolated by hundreds. */
const MAX_POLICIES = 16;
const MAX_BLOCKS = 4;

/** A denied packet of a flow. */
export interface DeniedPacket extends Denial {
  readonly flow: Flow;
  readonly icmpType?: number;
  /** The interface of the pod that was judged, as far as the packet tells. */
  readonly interface: string;
}

/** One end of a flow: the most specific that is known of its address. */
export interface FlowEnd {
  readonly address: string;
  /** `namespace/name`; several, parted by ` and `, where it cannot be told whose the address is. */
  readonly pod?: string;
  readonly node?: string;
  /** Blocks of policies that hold it, the longest prefix first: `10.0.0.0/8 (shop/web egress[0])`. */
  readonly blocks?: readonly string[];
  readonly outside?: true;
}

/** What a line of the log and an entry of /denials hold. */
export interface DenialRecord {
  readonly verdict: DenialVerdict;
  readonly direction?: Direction;
  readonly source: FlowEnd;
  readonly destination: FlowEnd;
  readonly protocol: string;
  readonly port?: number;
  readonly icmpType?: number;
  readonly node: string;
  /** All that isolate the pod, up to sixteen, each with what of its nearest rule does not hold. */
  readonly policies: readonly { readonly policy: string; readonly why?: string }[];
  readonly morePolicies?: number;
  /** The audited policies that would let it through, up to sixteen: a denied flow, or one that a single audited policy would deny. */
  readonly wouldAllow?: readonly string[];
  /** What else there is to know, such as that the rules have changed since. */
  readonly note?: string;
}

/** What is known at the moment a packet is explained. */
export interface DenialWorld {
  readonly nodeName: string;
  readonly snapshot: ClusterSnapshot;
  readonly directory: AddressDirectory;
  readonly interfaces: readonly PodInterface[];
}

/** Of what a rule logged, the flow. */
export function deniedPacket(packet: LoggedPacket, denial: Denial): DeniedPacket {
  const { source, destination, sourcePort, destinationPort, protocol, icmpType, inInterface, outInterface } = packet;
  const { isReply, direction } = denial;
  const isFromPod = (direction === 'egress') !== isReply;
  return {
    ...denial,
    flow: isReply
      ? { source: destination, destination: source, protocol, port: sourcePort ?? 0 }
      : { source, destination, protocol, port: destinationPort ?? 0 },
    ...(icmpType === undefined ? {} : { icmpType }),
    interface: isFromPod ? inInterface : outInterface,
  };
}

/** Packets with the same are told together: of one flow, whatever the client's port, and of several audited policies each by itself. */
export function flowKey({ verdict, direction, alone, flow, icmpType }: DeniedPacket): string {
  const { source, destination, protocol, port } = flow;
  return `${verdict} ${direction ?? ''} ${alone ? objectKey(alone) : ''} ${source} ${destination} ${protocol} ${icmpType ?? port}`;
}

export function recordDenial(denied: DeniedPacket, world: DenialWorld): DenialRecord {
  const { verdict, direction, flow, icmpType } = denied;
  const ends = { source: world.directory.find(flow.source), destination: world.directory.find(flow.destination) };
  const hasPort = PORT_PROTOCOLS.has(flow.protocol);
  return {
    verdict,
    ...(direction === undefined ? {} : { direction }),
    source: endOf(flow.source, ends.source),
    destination: endOf(flow.destination, ends.destination),
    protocol: protocolName(flow.protocol),
    ...(hasPort ? { port: flow.port } : {}),
    ...(icmpType === undefined ? {} : { icmpType }),
    node: world.nodeName,
    ...explanationOf(denied, ends, world),
  };
}

/** TCP, UDP, SCTP. */
const PORT_PROTOCOLS: ReadonlySet<number> = new Set([6, 17, 132]);

function endOf(address: string, owner: AddressOwner): FlowEnd {
  switch (owner.kind) {
    case 'pods':
      return { address, pod: owner.pods.map(objectKey).join(' and ') };
    case 'node':
      return { address, node: owner.nodes.join(' or ') };
    case 'blocks': {
      const blocks = owner.blocks.slice(0, MAX_BLOCKS).map(({ cidr, policy, direction, index }) => {
        return `${formatCidr(cidr)} (${objectKey(policy)} ${direction}[${index}])`;
      });
      return { address, blocks };
    }
    case 'outside':
      return { address, outside: true };
  }
}

type Ends = Readonly<Record<'source' | 'destination', AddressOwner>>;
type Explained = Pick<DenialRecord, 'policies' | 'morePolicies' | 'wouldAllow' | 'note'>;

function explanationOf(denied: DeniedPacket, ends: Ends, world: DenialWorld): Explained {
  const { direction, verdict } = denied;
  if (direction === undefined)
    return { policies: [], note: 'the rules of the pod were not in the kernel yet (--new-pods=closed)' };
  const subject = direction === 'egress' ? 'source' : 'destination';
  const attached = ends[subject].kind === 'pods' ? undefined : podAt(denied.interface, world);
  const { source } = ends;
  // What a pod sends to itself is forwarded only if it came by way of a Service (N-71).
  const own = denied.flow.source === denied.flow.destination ? { viaService: true as const } : {};
  const flow =
    source.kind === 'node' && !(attached && subject === 'source')
      ? { ...denied.flow, fromNode: source.nodes[0]! }
      : { ...denied.flow, ...own };
  const connection = connectionOf(ownersOf(denied.flow, ends, { ...(attached ? { [subject]: attached } : {}) }), flow);
  const inForce = explainDenial(world.snapshot, direction, connection);
  const withAudited = { ...world.snapshot, enforcesAudited: true } as const;
  const isAudited = verdict === 'would-deny' && inForce.verdict.kind !== 'denied';
  const ifEnforced = denied.alone ? ({ ...world.snapshot, enforcesAudited: denied.alone } as const) : withAudited;
  const explained = isAudited ? explainDenial(ifEnforced, direction, connection) : inForce;
  const stranger = attached
    ? `the ${subject} address is not one of pod ${objectKey(attached)}, which was judged by its interface`
    : '';
  if (explained.verdict.kind === 'denied') {
    const policies = explained.policies.map(({ policy, reason }) => {
      return { policy: objectKey(policy), why: reasonText(reason, direction, connection) };
    });
    const allowed = allowedBy(judgeDirection(withAudited, direction, connection));
    return { ...listed(policies), ...allowed, ...(stranger === '' ? {} : { note: stranger }) };
  }
  if (explained.verdict.kind === 'tier-rule' && !letsPass(explained.verdict))
    return {
      policies: [{ policy: objectKey(explained.verdict.by.policy) }],
      note: explainDirection(direction, explained.verdict),
    };
  // An address that is nobody's is judged by its interface, which the packet does not always tell.
  const isKnown = attached !== undefined || ends[subject].kind === 'pods';
  const now = isKnown ? explainDirection(direction, explained.verdict) : `the ${subject} address is no pod's`;
  const was = verdict === 'would-deny' ? 'would have been denied' : 'denied';
  const note = isKnown ? `${was} under rules since replaced; now ${now}` : `${was} by the interface of the pod: ${now}`;
  return { ...listed((denied.policies ?? []).map((policy) => ({ policy: objectKey(policy) }))), note };
}

/** By the verdict if no policy were only audited. */
function allowedBy(ifEnforced: DirectionVerdict): Pick<DenialRecord, 'wouldAllow'> {
  if (ifEnforced.kind !== 'allowed') return {};
  const names = new Set(ifEnforced.by.map(({ policy }) => objectKey(policy)));
  return { wouldAllow: [...names].slice(0, MAX_POLICIES) };
}

function listed(policies: DenialRecord['policies']): Explained {
  const more = policies.length - MAX_POLICIES;
  return { policies: policies.slice(0, MAX_POLICIES), ...(more > 0 ? { morePolicies: more } : {}) };
}

function podAt(name: string, { interfaces, snapshot }: DenialWorld): Pod | undefined {
  const found = interfaces.find((each) => each.name === name);
  return found && snapshot.pods.get(found.pod);
}

function ownersOf(flow: Flow, ends: Ends, instead: Partial<Record<keyof Ends, Pod>>): AddressOwners {
  const owners = new Map<string, Pod>();
  for (const end of ['source', 'destination'] as const) {
    const owner = ends[end];
    const pod = instead[end] ?? (owner.kind === 'pods' ? ownerAmong(flow[end], owner.pods) : undefined);
    if (pod) owners.set(flow[end], pod);
  }
  return owners;
}

/** One line for people. */
export function denialText({
  verdict,
  direction,
  source,
  destination,
  protocol,
  port,
  icmpType,
  ...rest
}: DenialRecord): string {
  const { policies, morePolicies = 0, wouldAllow, note } = rest;
  const what =
    port === undefined ? (icmpType === undefined ? protocol : `${protocol} type ${icmpType}`) : `${protocol} ${port}`;
  const judged = direction === undefined ? '' : `, ${direction}`;
  const reasons = policies.map(({ policy, why }) => (why === undefined ? policy : `${policy} ${why}`));
  if (morePolicies > 0) reasons.push(`${morePolicies} more policies`);
  if (wouldAllow) reasons.push(`would be allowed by ${wouldAllow.join(', ')}, only audited so far`);
  const because = [...reasons, ...(note === undefined ? [] : [note])];
  return `${verdict}: ${endText(source)} to ${endText(destination)}, ${what}${judged}: ${because.join('; ')}`;
}

function endText({ address, pod, node, blocks, outside }: FlowEnd): string {
  if (pod !== undefined) return `${pod} (${address})`;
  if (node !== undefined) return `node ${node} (${address})`;
  if (outside) return `${address} (outside)`;
  return `${address} (in ${blocks?.[0] ?? 'a block'})`;
}
