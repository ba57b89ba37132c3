/** The chains ahead of those that judge pods: which packets come to these, and where they find theirs. Drawn in render-node.ts. */
import { type Direction, FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { PodInterfaces } from '../../../host/pod-interfaces.ts';
import type { End, Match, Rule, Target } from '../table/rule.ts';
import type { MarkBits } from '../../mark-bits.ts';
import type { Chain, Layout } from '../table/table.ts';

import { NEW_PODS_DENIED } from '../../chain-names.ts';
import { JUDGING_ORDER } from '../../judgings.ts';
import { writePrefix } from '../../log-prefix.ts';
import { deniedBit, EVERY_PACKET, markOf } from '../../mark-bits.ts';
import {
  bridgedChain,
  dispatchChain,
  dispatchMap,
  firstChain,
  guardChain,
  guardMap,
  HOOKS,
  type Hook,
  listedSet,
  NEW_PODS_CHAINS,
  PLAIN_NAME,
  PREROUTING,
  programmedSet,
  recheckChain,
  REPLIES_CHAIN,
  STAMP_CHAIN,
} from '../table/names.ts';
import { chainOf, stamps } from '../table/table.ts';
import { otherEnd, reverse } from './reverse.ts';

export const RETURN = { kind: 'return' } as const;
const DROP = { kind: 'drop' } as const;
const LIVE = ['established', 'related'] as const;
/** In the place of the mark, where no flow is taken for judged. */
export const ONCE_JUDGED: Match = { kind: 'state', states: LIVE };
const STAMP: Rule = { matches: [], target: { kind: 'goto', chain: STAMP_CHAIN } };
/** What comes by no port of a pod, and packets whose pod's ports are known. */
const NO_TAG: Rule = { matches: [{ kind: 'tagged', not: true }], target: RETURN };

/** Of chains that packets come to in order of their priority: behind the translation of destinations, which is ahead of every judgement. */
const PRIORITY: Readonly<Record<Hook, string>> = { forward: 'mangle', input: 'mangle', prerouting: 'dstnat + 10' };

/** Addresses of no pod in particular: unspecified (a DHCP client), link-local, multicast, limited broadcast. */
const NOBODYS = {
  4: ['0.0.0.0/32', '169.254.0.0/16', '224.0.0.0/4', '255.255.255.255/32'],
  6: ['::/128', 'fe80::/10', 'ff00::/8'],
} as const;

export interface Seen {
  /** The directions in which interfaces of pods are guarded. */
  readonly guarded: readonly Direction[];
  /** Whether ports of bridges are looked at (bridged-ports.ts). */
  readonly isBridged: boolean;
  readonly interfaces: PodInterfaces;
}

export function entryChains(layout: Layout, seen: Seen): readonly Chain[] {
  const { guarded, interfaces } = seen;
  return [
    ...HOOKS.map((hook) => firstPackets(hook, layout, seen)),
    ...JUDGING_ORDER.map((direction) => dispatch(direction, false, layout)),
    ...guarded.map((direction) => guards(direction, false)),
    ...(stamps(layout) ? replyChains(layout, seen) : []),
    ...(isClosed(layout) ? newPodChains(layout, interfaces) : []),
  ];
}

/** Whether first packets have to pass the gate for pods that are not programmed yet. */
export function isClosed(layout: Layout): layout is Layout & Required<Pick<Layout, 'newPods'>> {
  return layout.newPods !== undefined && layout.mode === 'enforce';
}

/** Stamps flows with an epoch. */
export function stampingChain(epoch: number, marks: MarkBits): Chain {
  return chainOf(STAMP_CHAIN, [rule([], { kind: 'set-mark', mask: marks.mask, bits: markOf(epoch, marks) })]);
}

export function rule(matches: readonly Match[], target: Target): Rule {
  return { matches, target };
}

export function jump(chain: string): Rule {
  return rule([], { kind: 'jump', chain });
}

/** Which packets at the hook are judged. `epoch`: absent where flows are not stamped. */
export function hookChain(hook: Hook, layout: Layout, epoch: number | undefined): Chain {
  return chainOf(hook, hookRules(hook, layout, epoch), {
    hook: `type filter hook ${hook} priority ${PRIORITY[hook]}; policy accept;`,
  });
}

function hookRules(hook: Hook, layout: Layout, epoch: number | undefined): readonly Rule[] {
  const first: Match = {
    kind: 'state',
    ...(layout.mode === 'audit' ? { states: ['new'] } : { states: LIVE, not: true }),
  };
  const isStamped = stamps(layout) && epoch !== undefined;
  return [
    ...(hook === PREROUTING ? [NO_TAG] : []),
    rule([first], { kind: 'jump', chain: firstChain(hook) }),
    ...(isStamped ? [rule([stale(epoch, layout.marks)], { kind: 'jump', chain: recheckChain(hook) })] : []),
  ];
}

function stale(epoch: number, marks: MarkBits): Match {
  if (epoch === EVERY_PACKET) return ONCE_JUDGED;
  return { kind: 'stale-mark', mask: marks.mask >>> 0, bits: markOf(epoch, marks) };
}

/** In audit once per connection: a datagram that nobody answers, or a repeated SYN, is new each time. */
export function firstOnly({ mode }: Layout): readonly Rule[] {
  return mode === 'audit' ? [rule([{ kind: 'confirmed' }], RETURN)] : [];
}

/** Of neighbours, and of listeners to groups. */
export function discoveryRules(): readonly Rule[] {
  return [rule([{ kind: 'neighbour-discovery' }], RETURN), rule([{ kind: 'listener-discovery' }], RETURN)];
}

function firstPackets(hook: Hook, layout: Layout, { guarded, isBridged }: Seen): Chain {
  const isJudged = (direction: Direction): boolean => hook === 'forward' || direction === 'egress';
  const { source, destination } = NEW_PODS_CHAINS;
  const gates = hook === 'forward' ? [source, destination] : [source];
  return chainOf(firstChain(hook), [
    ...firstOnly(layout),
    ...discoveryRules(),
    ...(isClosed(layout) ? gates.map(jump) : []),
    ...guarded.filter(isJudged).map((direction) => jump(guardChain(direction, false))),
    ...(isBridged && hook === 'forward' ? [jump(bridgedChain('ingress', false))] : []),
    ...JUDGING_ORDER.filter(isJudged).map((direction) => jump(dispatchChain(direction, false))),
    ...(stamps(layout) ? [STAMP] : []),
  ]);
}

/** Of a pod's own address: where it sends from, or what it gets. */
export function ownEnd(direction: Direction, replies: boolean): End {
  return (direction === 'egress') === replies ? 'destination' : 'source';
}

function dispatch(direction: Direction, replies: boolean, layout: Layout): Chain {
  const end = ownEnd(direction, replies);
  const exemption = direction === 'ingress' ? trunkExemption(layout) : [];
  return chainOf(dispatchChain(direction, replies), [
    ...(replies ? exemption.map(reverse) : exemption),
    ...FAMILIES.map((family) => {
      const map = dispatchMap(direction, replies, family);
      return rule([], { kind: 'verdict-map', key: { kind: 'address', family, end }, map });
    }),
  ]);
}

/** With security groups for pods the node's own traffic comes back through the forward hook; a pod cannot forge the interface (S-60). */
function trunkExemption({ trunkInterfacePrefix: name }: Layout): Rule[] {
  if (name === '') return [];
  return [
    rule(
      [
        { kind: 'interface', end: 'source', name, isPrefix: true },
        { kind: 'local', end: 'source' },
      ],
      RETURN,
    ),
  ];
}

/** By interface: what is at no address that is listed as the pod's (S-56). */
function guards(direction: Direction, replies: boolean): Chain {
  const end = ownEnd(direction, replies);
  return chainOf(guardChain(direction, replies), [
    ...(replies ? [] : dhcpRules(direction)),
    ...FAMILIES.flatMap((family) => [
      rule([{ kind: 'interface-in-set', family, end, set: listedSet(family) }], RETURN),
      rule([{ kind: 'family', family }], {
        kind: 'verdict-map',
        key: { kind: 'interface', end },
        map: guardMap(direction, replies, family),
      }),
    ]),
  ]);
}

export function dhcpRules(direction: Direction): Rule[] {
  const message = direction === 'egress' ? 'request' : 'answer';
  return FAMILIES.map((family) => rule([{ kind: 'dhcp', family, message }], RETURN));
}

export const isIcmpError: readonly Match[] = [{ kind: 'icmp' }, { kind: 'state', states: ['related'] }];

/** For packets of live flows, which have a connection. */
function replyChains(layout: Layout & Required<Pick<Layout, 'marks'>>, { guarded, isBridged }: Seen): Chain[] {
  const flag = { kind: 'flag', bit: deniedBit(layout.marks), isSet: false } as const;
  return [
    ...HOOKS.map((hook) =>
      chainOf(recheckChain(hook), [
        rule([...isIcmpError, flag], RETURN),
        rule(isIcmpError, DROP),
        rule([{ kind: 'reply' }], hook === 'forward' ? { kind: 'goto', chain: REPLIES_CHAIN } : RETURN),
        rule([], { kind: 'goto', chain: firstChain(hook) }),
      ]),
    ),
    chainOf(REPLIES_CHAIN, [
      ...guarded.map((direction) => jump(guardChain(direction, true))),
      ...(isBridged ? [jump(bridgedChain('egress', true))] : []),
      ...JUDGING_ORDER.map((direction) => jump(dispatchChain(direction, true))),
      STAMP,
    ]),
    ...JUDGING_ORDER.map((direction) => dispatch(direction, true, layout)),
    ...guarded.map((direction) => guards(direction, true)),
  ];
}

/** The gate for new pods (S-75): what comes from or goes to a pod's interface at an address that is not programmed yet is dropped. */
function newPodChains(layout: Layout & Required<Pick<Layout, 'newPods'>>, interfaces: PodInterfaces): Chain[] {
  return [
    gate('source', layout, interfaces),
    gate('destination', layout, interfaces),
    chainOf(NEW_PODS_DENIED, deniedRules(layout)),
  ];
}

function gate(
  end: End,
  { newPods, trunkInterfacePrefix }: Layout & Required<Pick<Layout, 'newPods'>>,
  { bridges, broadcasts }: PodInterfaces,
): Chain {
  const ofPods = newPods.interfacePrefixes.map((name): Match => ({ kind: 'interface', end, name, isPrefix: true }));
  // What is routed to a bridge does not know its port yet; a bridge with other ports than pods' leads elsewhere as well.
  const toBridges = bridges
    .filter(({ name, isOnlyPods }) => isOnlyPods && PLAIN_NAME.test(name))
    .map(({ name }): Match => ({ kind: 'interface', end, name }));
  const unknown = [...ofPods, ...(end === 'destination' ? toBridges : [])].flatMap((at) =>
    FAMILIES.map((family) =>
      rule([at, { kind: 'in-set', family, end, set: programmedSet(family), not: true }], {
        kind: 'goto',
        chain: NEW_PODS_DENIED,
      }),
    ),
  );
  return chainOf(NEW_PODS_CHAINS[end], [
    ...trunkRules(end, trunkInterfacePrefix),
    ...nobodysRules(end, broadcasts),
    ...unknown,
  ]);
}

/** Packets at addresses that are no pod's in particular pass the gate. */
export function nobodysRules(end: End, broadcasts: readonly string[]): Rule[] {
  const block = (family: Family, cidr: string): Rule => rule([{ kind: 'block', family, end, cidr }], RETURN);
  return [
    ...FAMILIES.flatMap((family) => NOBODYS[family].map((cidr) => block(family, cidr))),
    ...(end === 'destination' ? broadcasts.map((address) => block(4, `${address}/32`)) : []),
  ];
}

/** A trunk's name may begin as pods' interfaces do; what comes by one comes from elsewhere, and from the node as well (S-60). */
function trunkRules(end: End, name: string): Rule[] {
  if (name === '') return [];
  const at = (side: End): Match => ({ kind: 'interface', end: side, name, isPrefix: true });
  if (end === 'source') return [rule([at('source')], RETURN)];
  return [rule([at('source'), { kind: 'local', end: 'source' }], RETURN), rule([at(otherEnd('source'))], RETURN)];
}

function deniedRules({ log }: Layout): readonly Rule[] {
  const drop = rule([], DROP);
  if (!log) return [drop];
  const { group, perSecond, burst } = log;
  const prefix = writePrefix('denied', undefined, NEW_PODS_DENIED);
  return [rule([{ kind: 'limit', perSecond, burst }], { kind: 'log', group, prefix }), drop];
}
