/** The small cluster whose rules are kept for each release (test/releases), in a lab node with the addresses they were written for. */
import { readdirSync, readFileSync } from 'node:fs';
import type { AgentLab } from './agent-lab.ts';
import type { PolicySpec } from './builders.ts';

const FOLDER = new URL('../releases/', import.meta.url);

/** Versions whose rules are kept. */
export const RELEASES: readonly string[] = readdirSync(FOLDER, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

/** Puts the rules of a version on node-1: sets first, then rules, as the release would. */
export async function loadRelease(t: AgentLab, version: string): Promise<void> {
  const read = (file: string): string => readFileSync(new URL(`${version}/${file}`, FOLDER), 'utf8');
  await t.on('node-1', ['ipset', 'restore'], read('sets.txt'));
  for (const family of [4, 6] as const) {
    const tool = `${family === 4 ? 'iptables' : 'ip6tables'}-${t.backend === 'iptables-nft' ? 'nft' : 'legacy'}-restore`;
    await t.on('node-1', [tool, '--noflush', '-w', '5'], read(`rules${family}.txt`));
  }
}

/** Name -> addresses; the lab would give others after a while. */
export const RELEASE_PODS = {
  'x/server': ['10.244.1.2', 'fd00:10:244:1::2'],
  'x/friend': ['10.244.1.3', 'fd00:10:244:1::3'],
  'x/stranger': ['10.244.1.4', 'fd00:10:244:1::4'],
  'x/quiet': ['10.244.1.5', 'fd00:10:244:1::5'],
} as const;

/** Every kind of chain, set and match: peers, blocks with holes, named ports, port lists, both directions, nothing allowed. */
export const RELEASE_POLICIES: Readonly<Record<string, PolicySpec>> = {
  'x/server': {
    podSelector: { matchLabels: { pod: 'server' } },
    ingress: [
      { from: [{ podSelector: { matchLabels: { pod: 'friend' } } }] },
      {
        from: [
          { ipBlock: { cidr: '203.0.113.0/24', except: ['203.0.113.64/26'] } },
          { ipBlock: { cidr: '2001:db8::/32', except: ['2001:db8:1::/48'] } },
        ],
        ports: [{ port: 80 }, { port: 443 }, { protocol: 'UDP', port: 53 }, { port: 1000, endPort: 2000 }],
      },
      { ports: [{ port: 'web' }] },
    ],
  },
  'x/quiet': { podSelector: { matchLabels: { pod: 'quiet' } }, policyTypes: ['Ingress', 'Egress'] },
};

/** TCP and UDP, port 80. */
export const RELEASE_REACH = [
  'x/friend -> x/server',
  'x/stranger -x x/server',
  'x/friend -x x/quiet',
  'x/quiet -x x/friend',
  'x/server -> x/friend',
] as const;
