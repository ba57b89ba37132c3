/**
 * The bare commands beside a node: another namespace with a copy of its rules and sets, in which a small process runs the command that
 * carries a change, and only what it adds. What a change takes back is tidied afterwards, untimed.
 */
import { isIptables, type MeasuredBackend } from '../backends.ts';
import type { Testbed } from '../packet/testbed.ts';
import { BareIptables } from './bare-iptables.ts';
import { BareNftables } from './bare-nftables.ts';
import type { Kind } from './cluster.ts';

/** Milliseconds. */
export interface BareTimes {
  /** As the data plane gives it to its tool. */
  readonly command: number;
  /** The same lines given to a process started for them, where the data plane keeps one. */
  readonly process?: number;
}

export interface BareNode {
  /** Runs the command that carries a change of this kind; `sets`: into how many sets an address goes. */
  run(kind: Kind, sets: number): Promise<BareTimes>;
  close(): Promise<void>;
}

/** A copy of what `testbed.node` holds now. */
export function openBareNode(testbed: Testbed, backend: MeasuredBackend): Promise<BareNode> {
  return isIptables(backend) ? BareIptables.open(testbed, backend) : BareNftables.open(testbed);
}

export function isOfRules(kind: Kind): boolean {
  return kind === 'policy edited' || kind === 'local pod relabelled';
}
