/** What of a cell people read: the ports at which something is allowed. */
import type { Cell } from '../../policy/matrix/groups.ts';
import type { PortClass } from '../../policy/matrix/ports.ts';

import { portText } from '../../policy/matrix/ports.ts';

export type CellState = 'all' | 'some' | 'none';

export function stateAt({ total, allowed }: Cell, port: number): CellState {
  if (allowed[port] === 0) return 'none';
  return allowed[port] === total ? 'all' : 'some';
}

/** `ports`: those that are looked at, as indexes. */
export function stateOf(cell: Cell, ports: readonly number[]): CellState {
  const states = new Set(ports.map((port) => stateAt(cell, port)));
  if (states.size > 1) return 'some';
  return states.has('all') ? 'all' : states.has('none') ? 'none' : 'some';
}

export const NOTHING = '-';

/** `all`, `-`, `80 53/UDP`, `all but 22`; with `~` behind what not all pairs may use. */
export function cellText(cell: Cell, ports: readonly number[], classes: readonly PortClass[]): string {
  const text = (port: number): string => `${portText(classes[port]!)}${stateAt(cell, port) === 'some' ? '~' : ''}`;
  const open = ports.filter((port) => stateAt(cell, port) !== 'none');
  if (open.length === 0) return NOTHING;
  const isWhole = (port: number): boolean => stateAt(cell, port) === 'all';
  const hasRest = ports.some((port) => classes[port]!.isRest);
  if (open.length === ports.length && hasRest) return ports.every(isWhole) ? 'all' : 'all~';
  const rest = ports.filter((port) => classes[port]!.isRest);
  const but = ports.filter((port) => stateAt(cell, port) === 'none');
  const isMostlyOpen = hasRest && but.length > 0 && rest.every(isWhole) && open.every(isWhole) && but.length <= 4;
  return isMostlyOpen ? `all but ${but.map((port) => portText(classes[port]!)).join(' ')}` : open.map(text).join(' ');
}
