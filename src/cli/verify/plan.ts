/**
 * What is sent, and what has to become of it, pure. On each node a server and a client; a client sends to the server of its own node and to
 * that of the next one, in a ring, so that each node is the judge of what goes out and comes in, from near and far.
 *
 *   open             no policy                                        everything reaches
 *   ingress-deny     servers are isolated                             nothing does
 *   ingress-allow    and take one port of one client                  that does, and nothing else
 *   egress-deny      clients are isolated                             nothing reaches
 *   egress-allow     and may go to one port of one server             that does, and nothing else
 */
import type { Direction, Family } from '../../core/vocabulary.ts';

import { hostPortText } from '../../net/host-port.ts';
import { familyOf } from '../../net/ip.ts';
import { ALLOWED_PORT, OTHER_PORT, type PodPlan } from './probe-pods.ts';

export const PHASES = ['open', 'ingress-deny', 'ingress-allow', 'egress-deny', 'egress-allow'] as const;
export type Phase = (typeof PHASES)[number];

export const PHASE_TEXTS: Readonly<Record<Phase, string>> = {
  open: 'without a policy all reach',
  'ingress-deny': 'ingress: default deny',
  'ingress-allow': 'ingress: one is allowed',
  'egress-deny': 'egress: default deny',
  'egress-allow': 'egress: one is allowed',
};

const ROLE = 'portcullis.dev/verify-role';
const PLACE = 'portcullis.dev/verify-place';

export function serverPlan(node: string, place: number): PodPlan {
  return { name: `server-${place}`, node, labels: { [ROLE]: 'server', [PLACE]: String(place) } };
}

export function clientPlan(node: string, place: number): PodPlan {
  return { name: `client-${place}`, node, labels: { [ROLE]: 'client', [PLACE]: String(place) } };
}

/** The one whose server the client at `place` may reach where one is allowed: on another node, if there is one. */
function nextOf(place: number, nodes: number): number {
  return (place + 1) % nodes;
}

/** One connection that a client tries again and again. */
export interface Probe {
  /** Places in the list of nodes. */
  readonly from: number;
  readonly to: number;
  readonly family: Family;
  readonly port: number;
  readonly target: string;
}

/** `addresses`: of the servers, by place. */
export function probesOf(addresses: readonly (readonly string[])[]): readonly Probe[] {
  return addresses.flatMap((_, from) =>
    [...new Set([from, nextOf(from, addresses.length)])].flatMap((to) =>
      addresses[to]!.flatMap((address) =>
        [ALLOWED_PORT, OTHER_PORT].map((port) => ({
          from,
          to,
          family: familyOf(address),
          port,
          target: hostPortText({ host: address, port }),
        })),
      ),
    ),
  );
}

export function isToReach(phase: Phase, { from, to, port }: Probe, nodes: number): boolean {
  switch (phase) {
    case 'open':
      return true;
    case 'ingress-deny':
    case 'egress-deny':
      return false;
    case 'ingress-allow':
    case 'egress-allow':
      return to === nextOf(from, nodes) && port === ALLOWED_PORT;
  }
}

/** Which side is put to the test, and so where it is judged: egress where the client is, ingress where the server is. */
export function directionOf(phase: Phase): Direction | undefined {
  return phase === 'open' ? undefined : phase.startsWith('ingress') ? 'ingress' : 'egress';
}

export function judgeOf(phase: Phase, { from, to }: Probe): number {
  return directionOf(phase) === 'egress' ? from : to;
}

/** All policies that there are to be in that phase. */
export function policiesOf(phase: Phase, nodes: number): readonly PolicyObject[] {
  const direction = directionOf(phase);
  if (!direction) return [];
  const deny = policy(`deny-${direction}`, {
    podSelector: { matchLabels: { [ROLE]: subjectOf(direction) } },
    policyTypes: [typeOf(direction)],
  });
  return phase.endsWith('deny')
    ? [deny]
    : [deny, ...Array.from({ length: nodes }, (_, place) => allowOne(direction, place, nodes))];
}

export interface PolicyObject {
  readonly metadata: { readonly name: string };
}

function policy(name: string, spec: object): PolicyObject {
  return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name }, spec } as PolicyObject;
}

function subjectOf(direction: Direction): 'server' | 'client' {
  return direction === 'ingress' ? 'server' : 'client';
}

function typeOf(direction: Direction): string {
  return direction === 'ingress' ? 'Ingress' : 'Egress';
}

/** Between the client at `place` and the server of the next. */
function allowOne(direction: Direction, place: number, nodes: number): PolicyObject {
  const client = { matchLabels: { [ROLE]: 'client', [PLACE]: String(place) } };
  const server = { matchLabels: { [ROLE]: 'server', [PLACE]: String(nextOf(place, nodes)) } };
  const isIngress = direction === 'ingress';
  const rule = {
    [isIngress ? 'from' : 'to']: [{ podSelector: isIngress ? client : server }],
    ports: [{ protocol: 'TCP', port: ALLOWED_PORT }],
  };
  return policy(`allow-${direction}-${place}`, {
    podSelector: isIngress ? server : client,
    policyTypes: [typeOf(direction)],
    [direction]: [rule],
  });
}

/** Nodes that stand for all: as far apart in the list as can be. */
export function sampleOf<T>(all: readonly T[], count: number | undefined): readonly T[] {
  if (count === undefined || count >= all.length) return all;
  return Array.from({ length: count }, (_, index) => all[Math.floor((index * all.length) / count)]!);
}
