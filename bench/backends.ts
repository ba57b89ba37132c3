/** The data planes that suites measure beside each other, and how an agent is told which of them to use. */
import { BACKENDS, type Backend } from '../src/core/vocabulary.ts';
import type { SuiteOptions } from './types.ts';

/** A variant of iptables, or the table of nftables. */
export type MeasuredBackend = Backend | 'nftables';
export const MEASURED_BACKENDS = [...BACKENDS, 'nftables'] as const satisfies readonly MeasuredBackend[];
/** To see that it works: one of each data plane. */
const QUICK_BACKENDS: readonly MeasuredBackend[] = ['iptables-nft', 'nftables'];

/** `usual`: those of a suite that leaves some out. */
export function backendsOf(
  { quick, backends }: SuiteOptions,
  usual: readonly MeasuredBackend[] = MEASURED_BACKENDS,
): readonly MeasuredBackend[] {
  return backends ?? (quick ? QUICK_BACKENDS : usual);
}

/** The same, of those alone that are of iptables. */
export function iptablesOf(options: SuiteOptions): readonly Backend[] {
  return backendsOf(options).filter(isIptables);
}

export function isIptables(backend: MeasuredBackend): backend is Backend {
  return backend !== 'nftables';
}

/** Undefined: one of them is none. */
export function readBackends(text: string): readonly MeasuredBackend[] | undefined {
  const names = text.split(',');
  const known = MEASURED_BACKENDS.filter((backend) => names.includes(backend));
  return names.every((name) => known.some((backend) => backend === name)) ? known : undefined;
}

/**
 * Flags and environment of an agent. Versions that know no other data plane than iptables would refuse the flag, but pass over the
 * variable.
 */
export function agentChoice(backend: MeasuredBackend): {
  readonly backend: Backend | 'auto';
  readonly more: readonly string[];
  readonly env: Readonly<Record<string, string>>;
} {
  return isIptables(backend)
    ? { backend, more: [], env: { PORTCULLIS_DATAPLANE: 'iptables' } }
    : { backend: 'auto', more: ['--dataplane=nftables'], env: {} };
}
