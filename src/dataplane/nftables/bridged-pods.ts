/** Which bridges matter where nftables does not see their ports. */
import type { PodInterfaces } from '../../host/pod-interfaces.ts';

/**
 * Names of the bridges on which what pods send from, or get at, addresses that are not theirs is not judged. `isClosed`: new pods are kept
 * out, and what they are attached to may be told by its port alone.
 */
export function bridgesOfPods({ pods, bridges }: PodInterfaces, isClosed: boolean): readonly string[] {
  if (isClosed) return bridges.map(({ name }) => name);
  return pods.some(({ via }) => via === 'bridge') ? bridgesInUse(bridges) : [];
}

/** Bridges whose ports look like those of pods. */
export function bridgesInUse(bridges: PodInterfaces['bridges']): readonly string[] {
  return bridges.filter(({ isEmpty }) => !isEmpty).map(({ name }) => name);
}

export function unseenPorts(names: readonly string[], problem: string): string {
  return (
    `pods are ports of a bridge (${names.join(', ')}), which nftables does not see on this host (${problem}): what they send from, or get ` +
    'at, addresses that are not theirs is not judged'
  );
}
