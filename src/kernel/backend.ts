/** Which iptables variant this host uses, and which families it can filter. */
import type { Family } from '../net/ip.ts';
import type { RunCommand } from './command.ts';
import type { Backend } from './kernel.ts';

import { CommandFailed } from './command.ts';
import { toolName } from './linux-kernel.ts';

const TIMEOUT_MS = 10_000;
/** Chains the kubelet plants so that others can tell which variant the host uses (Kubernetes KEP-3178). */
const HINTS = [':KUBE-IPTABLES-HINT ', ':KUBE-KUBELET-CANARY '];
const OURS = ':PCL-FWD ';

export interface DetectedBackend {
  readonly backend: Backend;
  readonly why: string;
}

/**
 * nft if its mangle table holds the kubelet's hint chains; else legacy if its tables do; else the variant that holds
 * our own chains; else nft. Rejects with CommandFailed if neither variant is installed.
 */
export async function detectBackend(run: RunCommand): Promise<DetectedBackend> {
  // `iptables-legacy-save -t X` would create table X; without `-t` it only reads what exists.
  const nft = await savedText(run, 'iptables-nft', ['-t', 'mangle']);
  if (nft && HINTS.some((hint) => nft.includes(hint)))
    return { backend: 'iptables-nft', why: 'kubelet hint chains found' };
  const legacy = await savedText(run, 'iptables-legacy', []);
  if (legacy && HINTS.some((hint) => legacy.includes(hint))) {
    return { backend: 'iptables-legacy', why: 'kubelet hint chains found' };
  }
  if (nft?.includes(OURS)) return { backend: 'iptables-nft', why: 'our own chains found' };
  if (legacy?.includes(OURS)) return { backend: 'iptables-legacy', why: 'our own chains found' };
  if (nft !== undefined) return { backend: 'iptables-nft', why: 'no kubelet hint chains; nft is the default' };
  if (legacy !== undefined) return { backend: 'iptables-legacy', why: 'iptables-nft is not installed' };
  throw new CommandFailed(
    { argv: [toolName('iptables-nft', 4, 'save')], timeoutMs: TIMEOUT_MS },
    'not-found',
    null,
    'neither iptables-nft-save nor iptables-legacy-save is installed',
  );
}

async function savedText(run: RunCommand, backend: Backend, args: readonly string[]): Promise<string | undefined> {
  const texts: string[] = [];
  for (const family of [4, 6] as const) {
    try {
      const { stdout } = await run({ argv: [toolName(backend, family, 'save'), ...args], timeoutMs: TIMEOUT_MS });
      texts.push(stdout);
    } catch (error) {
      if (!(error instanceof CommandFailed)) throw error;
    }
  }
  return texts.length > 0 ? texts.join('\n') : undefined;
}

/** IPv4 always; IPv6 if `ip6tables` can list table mangle. A missing program for IPv4 rejects with CommandFailed. */
export async function detectFamilies(run: RunCommand, backend: Backend): Promise<readonly Family[]> {
  await run({ argv: [toolName(backend, 4, 'save'), '-t', 'mangle'], timeoutMs: TIMEOUT_MS });
  try {
    await run({ argv: [toolName(backend, 6, 'save'), '-t', 'mangle'], timeoutMs: TIMEOUT_MS });
    return [4, 6];
  } catch (error) {
    if (error instanceof CommandFailed) return [4];
    throw error;
  }
}
