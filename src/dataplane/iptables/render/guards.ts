/**
 * The chains that find a pod by its interface, for packets with addresses that no API object lists: link-local, multicast, broadcast,
 * or one that the pod gave itself (S-56).
 *
 *   PCL-PE       another interface than all of these RETURN (routed); DHCP request RETURN; by the interface a packet came from,
 *                through parts by the next characters of its name, to
 *                  -s <address of the pod> RETURN      judged by PCL-EG, by its address
 *                  -g PCL-E-<hash>                     judged as the pod's, whatever it calls itself
 *   PCL-PI       DHCP answer RETURN; by the bridge port a packet leaves by, likewise with -d and PCL-I-<hash>
 *   PCL-PER, -PIR  the same of answers, with the sides exchanged
 *
 * A node that knows of no interface of an isolated pod has none of these, nor the jumps to them.
 */
import type { Direction } from '../../../core/vocabulary.ts';
import type { ChainRole } from '../rules/chain.ts';
import type { Match, Rule } from '../rules/rule.ts';
import type { Layout, PortGuard } from '../rules/ruleset.ts';

import { Chain } from '../rules/chain.ts';
import { JUDGING_ORDER } from '../../judgings.ts';
import { judgesReplies } from '../rules/layout.ts';
import { guardChain } from '../rules/names.ts';
import { replyChain } from '../../chain-names.ts';

/** More interfaces than these are parted by the next character of their names. */
export const MAX_PORTS = 16;

export function guardChains(guards: readonly PortGuard[], layout: Layout): readonly Chain[] {
  return guardsInUse(guards).flatMap((direction) => [
    ...chainsOf(direction, guards, false),
    ...(judgesReplies(layout) ? chainsOf(direction, guards, true) : []),
  ]);
}

/** The same chains as far as other chains jump to them, without rules. */
export function emptyGuardChains(guards: readonly PortGuard[], layout: Layout): readonly Chain[] {
  return guardsInUse(guards).flatMap((direction) => [
    new Chain(guardChain(direction), role(direction, false), []),
    ...(judgesReplies(layout) ? [new Chain(guardChain(direction, true), role(direction, true), [])] : []),
  ]);
}

function role(direction: Direction, replies: boolean): ChainRole {
  return { kind: 'guard', direction, replies };
}

/** The directions that any of them guards. */
export function guardsInUse(guards: readonly PortGuard[]): readonly Direction[] {
  return JUDGING_ORDER.filter((direction) => guards.some(({ targets }) => targets[direction] !== undefined));
}

function chainsOf(direction: Direction, guards: readonly PortGuard[], replies: boolean): Chain[] {
  const isIn = (direction === 'egress') !== replies;
  const ports = guards.flatMap((guard): Port[] => {
    const target = guard.targets[direction];
    if (target === undefined) return [];
    const at: Match = { kind: matchKind(guard.via, isIn), name: guard.name };
    const listed = guard.addresses.map((address): Rule => {
      return { matches: [{ kind: isIn ? 'source' : 'destination', address }, at], target: { kind: 'return' } };
    });
    const goto: Rule = { matches: [at], target: { kind: 'goto', chain: replies ? replyChain(target) : target } };
    return [{ guard, isIn, rules: [...listed, goto] }];
  });
  const [top, ...parts] = divided(guardChain(direction, replies), role(direction, replies), ports, 0);
  const dhcp: Match = { kind: 'dhcp', message: direction === 'egress' ? 'request' : 'answer' };
  const asks: Rule[] = replies ? [] : [{ matches: [dhcp], target: { kind: 'return' } }];
  return [new Chain(top!.name, top!.role, [...elsewhere(ports, isIn), ...asks, ...top!.rules]), ...parts];
}

interface Port {
  readonly guard: PortGuard;
  readonly isIn: boolean;
  readonly rules: readonly Rule[];
}

function matchKind(via: PortGuard['via'], isIn: boolean) {
  if (via === 'bridge') return isIn ? 'in-port' : 'out-port';
  return isIn ? 'in-interface' : 'out-interface';
}

/** The chain `name` for ports whose names agree in their first `length` characters, and the chains of its parts. */
function divided(name: string, of: ChainRole, ports: readonly Port[], length: number): Chain[] {
  if (ports.length <= MAX_PORTS)
    return [
      new Chain(
        name,
        of,
        ports.flatMap(({ rules }) => rules),
      ),
    ];
  const shared = sharedLength(ports, length);
  const parts = new Map<string, Port[]>();
  const whole: Port[] = [];
  for (const port of ports) {
    const prefix = port.guard.name.slice(0, shared + 1);
    // A prefix as long as the name would not be shorter with a wildcard behind it.
    if (prefix.length > shared && port.guard.name.length > prefix.length) {
      const key = `${port.guard.via} ${prefix}`;
      parts.set(key, [...(parts.get(key) ?? []), port]);
    } else whole.push(port);
  }
  const rules: Rule[] = whole.flatMap((port) => port.rules);
  const chains: Chain[] = [];
  for (const [key, inside] of parts) {
    const prefix = key.slice(key.indexOf(' ') + 1);
    const [{ guard, isIn }] = inside as [Port, ...Port[]];
    const part = `${name}-${guard.via === 'bridge' ? 'b' : 'a'}${prefix.charCodeAt(shared).toString(16)}`;
    rules.push({ matches: [prefixMatch(guard.via, isIn, prefix)], target: { kind: 'goto', chain: part } });
    chains.push(...divided(part, of, inside, shared + 1));
  }
  return [new Chain(name, of, rules), ...chains];
}

/** What comes by an interface that is named unlike all of these need not be compared with each part of them. */
function elsewhere(ports: readonly Port[], isIn: boolean): Rule[] {
  if (ports.length <= MAX_PORTS || ports.some(({ guard }) => guard.via === 'bridge')) return [];
  const prefix = ports[0]!.guard.name.slice(0, sharedLength(ports, 0));
  if (prefix === '') return [];
  const kind = isIn ? 'not-in-interface-prefix' : 'not-out-interface-prefix';
  return [{ matches: [{ kind, prefix }], target: { kind: 'return' } }];
}

function prefixMatch(via: PortGuard['via'], isIn: boolean, prefix: string): Match {
  if (via === 'bridge') return { kind: isIn ? 'in-port' : 'out-port', name: prefix, isPrefix: true };
  return { kind: isIn ? 'in-interface-prefix' : 'out-interface-prefix', prefix };
}

function sharedLength(ports: readonly Port[], from: number): number {
  const [{ guard: first }] = ports as [Port, ...Port[]];
  let length = from;
  while (length < first.name.length && ports.every(({ guard }) => guard.name[length] === first.name[length])) length++;
  return length;
}
