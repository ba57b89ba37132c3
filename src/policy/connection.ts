/** One flow with its ends, and what any rule asks of these. */
import type { Direction } from '../core/vocabulary.ts';
import type { Flow, Pod, PortMatch } from './model.ts';

import { PROTOCOL_NUMBER } from '../core/vocabulary.ts';
import { type Address, parseAddress } from '../net/ip.ts';

/** One flow with everything the clauses ask about its ends. */
export interface Connection {
  readonly flow: Flow;
  readonly sourcePod: Pod | undefined;
  readonly destinationPod: Pod | undefined;
}

/** Address (canonical text) -> the pod that owns it, as `addressOwners` tells. */
export interface AddressOwners {
  get(address: string): Pod | undefined;
}

export function connectionOf(owners: AddressOwners, flow: Flow): Connection {
  return { flow, sourcePod: owners.get(flow.source), destinationPod: owners.get(flow.destination) };
}

/** The end that a rule's peers are about. */
export interface OtherEnd {
  readonly pod: Pod | undefined;
  readonly address: Address;
}

export function otherEnd(direction: Direction, { flow, sourcePod, destinationPod }: Connection): OtherEnd {
  return direction === 'ingress'
    ? { pod: sourcePod, address: readAddress(flow.source) }
    : { pod: destinationPod, address: readAddress(flow.destination) };
}

/** S-34..S-38; S-40..S-46 for names, which only the destination pod itself can resolve, in either direction. */
export function portMatches(port: PortMatch, { flow, destinationPod }: Connection): boolean {
  if (PROTOCOL_NUMBER[port.protocol] !== flow.protocol) return false; // S-66: nothing but the named protocol
  switch (port.kind) {
    case 'range':
      return port.first <= flow.port && flow.port <= port.last;
    case 'named':
      // S-44: whatever is no eligible pod declares nothing.
      return (destinationPod?.namedPorts ?? []).some(
        (declared) => declared.name === port.name && declared.protocol === port.protocol && declared.port === flow.port,
      );
  }
}

function readAddress(text: string): Address {
  const address = parseAddress(text);
  if (address === undefined) throw new Error(`flow: ${JSON.stringify(text)} is not an IP address`);
  return address;
}
