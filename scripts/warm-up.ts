/**
 * One run of the bundle, from its start to the first commit, against a small cluster in memory and netfilter tools that do nothing: what
 * it compiles is what every start needs, and is kept. Needs no root.
 */
import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { startApiServer } from '../lab/api/api-server.ts';
import { ApiStore } from '../lab/api/api-store.ts';
import type { ApiObject, ResourceName } from '../lab/api/objects.ts';
import { IMAGE_ENV, IMAGE_FLAGS } from './image.ts';

const TIMEOUT_MS = 60_000;
const NODE = 'node-1';
/** Enough of them that what is done for each is compiled. */
const NAMESPACES = 6;
const PODS = 20;

const BUILT_IN = ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'];
/** Empty tables, no sets, no flows; what is written is read to its end. */
const TOOL = `#!/bin/sh
case "$\{0##*/} $*" in
  *-save*mangle) printf '%s\\n' '*mangle' ${BUILT_IN.map((name) => `':${name} ACCEPT [0:0]'`).join(' ')} COMMIT ;;
  *restore*) cat >/dev/null ;;
  *' -j '*) echo '[]' ;;
esac
`;
const TOOLS = ['iptables', 'ip6tables']
  .flatMap((tool) => [`${tool}-nft-save`, `${tool}-nft-restore`])
  .concat('ipset', 'conntrack', 'ip', 'bridge', 'nft', 'xtables-monitor');

/** Leaves the compiled code beside the parts of the bundle in `folder`. Rejects if the run does not come to its first commit. */
export async function warmUp(folder: string): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'portcullis-warm-up-'));
  try {
    await run(folder, scratch);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  if (!readdirSync(folder).includes('program.cjs.compiled')) throw new Error('nothing compiled was kept');
}

async function run(folder: string, scratch: string): Promise<void> {
  const store = new ApiStore();
  fill(store);
  const server = await startApiServer({ store });
  try {
    const account = join(scratch, 'account');
    mkdirSync(account);
    writeFileSync(join(account, 'token'), server.token);
    writeFileSync(join(account, 'ca.crt'), server.caPem);
    const keeper = join(import.meta.dirname, 'keep-compiled.ts');
    // Of nftables the kernel itself would be asked, past the tools.
    const host = ['--dataplane', 'iptables', '--api-server-endpoints-file', 'off'];
    const flags = ['--node-name', NODE, '--service-account-dir', account, ...host];
    const argv = [...IMAGE_FLAGS, '--import', keeper, join(folder, 'portcullis.mjs'), 'agent', ...flags];
    await untilFirstCommit([...argv, '--http-address', `unix:${join(scratch, 'http')}`], {
      ...IMAGE_ENV,
      PATH: `${makeTools(scratch)}:/usr/local/bin:/usr/bin:/bin`,
      KUBERNETES_SERVICE_HOST: '127.0.0.1',
      KUBERNETES_SERVICE_PORT: String(server.port),
    });
  } finally {
    await server.close();
  }
}

function makeTools(scratch: string): string {
  const bin = join(scratch, 'bin');
  mkdirSync(bin);
  for (const tool of TOOLS) {
    writeFileSync(join(bin, tool), TOOL);
    chmodSync(join(bin, tool), 0o755);
  }
  return bin;
}

async function untilFirstCommit(argv: readonly string[], env: Readonly<Record<string, string>>): Promise<void> {
  const lines: string[] = [];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'], env });
  const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS);
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    if (line.includes('first sync done')) child.kill('SIGTERM');
  });
  const code = await new Promise((resolve) => child.once('close', resolve));
  clearTimeout(timer);
  if (code !== 0 || !lines.some((line) => line.includes('first sync done')))
    throw new Error(`the bundle does not come to its first commit (${String(code)}):\n${lines.join('\n')}`);
}

function fill(store: ApiStore): void {
  const put = (resource: ResourceName, object: object): void => void store.storage.put(resource, object as ApiObject);
  put('nodes', {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: NODE },
    status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
  });
  for (let index = 0; index < NAMESPACES; index++) {
    const namespace = `ns-${index}`;
    const labels = { 'kubernetes.io/metadata.name': namespace, team: `team-${index % 3}` };
    put('namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels } });
    for (let pod = 0; pod < PODS; pod++) put('pods', podOf(namespace, index, pod));
    for (const policy of policiesOf(namespace)) put('networkpolicies', policy);
  }
}

function podOf(namespace: string, index: number, pod: number): object {
  const podIPs = [{ ip: `10.${index}.0.${pod + 1}` }, { ip: `fd00:${index}::${pod + 1}` }];
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: `pod-${pod}`, namespace, labels: { app: `app-${pod % 5}`, tier: pod % 2 ? 'front' : 'back' } },
    spec: {
      nodeName: pod % 2 ? NODE : 'node-2',
      containers: [{ name: 'main', image: 'x', ports: [{ name: 'web', containerPort: 8080, protocol: 'TCP' }] }],
    },
    status: {
      phase: 'Running',
      podIP: podIPs[0]!.ip,
      podIPs,
      conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z' }],
    },
  };
}

function policiesOf(namespace: string): readonly object[] {
  const of = (name: string, spec: object): object => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace },
    spec,
  });
  const tcp = (port: number | string, endPort?: number): object => ({
    protocol: 'TCP',
    port,
    ...(endPort ? { endPort } : {}),
  });
  const blocks = [
    { ipBlock: { cidr: '198.51.100.0/24', except: ['198.51.100.64/26'] } },
    { ipBlock: { cidr: '2001:db8::/32', except: ['2001:db8:1::/48'] } },
  ];
  return [
    of('deny', { podSelector: {}, policyTypes: ['Ingress'] }),
    of('web', {
      podSelector: { matchLabels: { app: 'app-1' } },
      ingress: [
        { from: [{ podSelector: { matchLabels: { tier: 'front' } } }], ports: [tcp(80), tcp('web'), tcp(9000, 9010)] },
        { from: [{ namespaceSelector: { matchLabels: { team: 'team-1' } } }, ...blocks] },
      ],
    }),
    of('out', {
      podSelector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['app-2', 'app-3'] }] },
      policyTypes: ['Egress'],
      egress: [
        { to: [{ namespaceSelector: {}, podSelector: { matchLabels: { app: 'app-0' } } }], ports: [tcp(443)] },
        { to: blocks, ports: [{ protocol: 'UDP', port: 53 }] },
      ],
    }),
  ];
}
