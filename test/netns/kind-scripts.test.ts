/** scripts/kind-up and kind-test where there is no container engine: kubectl speaks to the lab, kind and docker write down what they are told. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { skipUnlessRoot } from '../support/agent-lab.ts';
import { createTestLab, type TestLab } from '../support/test-lab.ts';

const ROOT = join(import.meta.dirname, '../..');
const NODES = ['lab-control-plane', 'lab-worker', 'lab-worker2'];
const { version: VERSION } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  readonly version: string;
};

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

describe('scripts for kind, against the lab', function () {
  this.timeout(240_000);
  let folder: string;
  let bin: string;
  let lab: TestLab['lab'];
  let follow: NodeJS.Timeout;

  before(async function () {
    skipUnlessRoot.call(this);
    const kubectl = realKubectl();
    if (kubectl === undefined) {
      console.log('      skipped: no kubectl');
      // Not `skip`: where kernel tests must run, a kubectl need not be.
      return;
    }
    folder = mkdtempSync(join(tmpdir(), 'portcullis-kind-'));
    bin = join(folder, 'bin');
    mkdirSync(bin);
    ({ lab } = await createTestLab({ nodes: NODES, families: [4] }));
    follow = setInterval(() => {
      const lines = lab.network.pods().map(({ key, netns }) => `${key.slice('pod/'.length)} ${netns}\n`);
      writeFileSync(join(folder, 'pods'), lines.join(''));
    }, 50);
    // kind's containers have `exec`; here a pod is a network namespace.
    program('kubectl', [
      'args=()',
      'while [[ $# -gt 0 ]]; do if [[ $1 == --context ]]; then shift 2; else args+=("$1"); shift; fi; done',
      `if [[ \${args[2]:-} == exec ]]; then`,
      `  netns=$(sed -n "s#^\${args[1]}/\${args[3]} ##p" '${folder}/pods')`,
      `  exec ip netns exec "$netns" '${process.execPath}' "\${args[@]:6}"`,
      'fi',
      `exec '${kubectl}' "\${args[@]}"`,
    ]);
    for (const name of ['kind', 'docker']) program(name, told(name));
  });
  after(async () => {
    clearInterval(follow);
    await lab?.close();
    if (folder) rmSync(folder, { recursive: true });
  });
  function program(name: string, lines: readonly string[]): void {
    const path = join(bin, name);
    writeFileSync(path, ['#!/usr/bin/env bash', ...lines, ''].join('\n'));
    chmodSync(path, 0o755);
  }

  /** Writes down its arguments, and what it is given to read. */
  function told(name: string): readonly string[] {
    return [
      'given=""',
      'if [[ " $* " == *" -i "* ]]; then given=" <<< $(tr "\\n" " ")"; fi',
      `echo "${name} $*$given" >>'${folder}/told'`,
      // The rule is not there yet.
      'if [[ " $* " == *" -C "* ]]; then exit 1; fi',
    ];
  }

  function run(script: string, env: Readonly<Record<string, string>> = {}): Promise<Run> {
    const options = {
      env: { ...process.env, PATH: `${bin}:${process.env.PATH}`, HOME: folder, KUBECONFIG: lab.kubeconfig, ...env },
    };
    return new Promise((resolve) => {
      execFile(join(ROOT, 'scripts', script), [], options, (error, out, err) => {
        resolve({ code: error ? Number(error.code ?? 1) : 0, out, err });
      });
    });
  }

  it('kind-up says what is missing and what to do', async () => {
    if (lab === undefined) return;
    const bare = join(folder, 'bare');
    mkdirSync(bare);
    for (const name of ['bash', 'env', 'sed', 'dirname', 'kubectl'])
      execFileSync('ln', ['-s', `/bin/${name}`, join(bare, name)]);
    const { code, err } = await run('kind-up', { PATH: bare });
    assert.equal(code, 1);
    assert.match(err, /kind is not installed\n.*what to do: see kind\.sigs\.k8s\.io/);
    assert.match(
      (await run('kind-test', { KUBECONFIG: '/nonexistent' })).err,
      /what to do: scripts\/kind-up makes one/,
    );
  });

  it('kind-up gives each node its CNI, routes to all others, image and manifests', async () => {
    if (lab === undefined) return;
    const { code, err } = await run('kind-up');
    assert.equal(code, 0, err);
    const lines = readFileSync(join(folder, 'told'), 'utf8').split('\n');
    assert.ok(lines.includes('kind create cluster --name portcullis --config kind-config.yaml'));
    const config = parse(readFileSync(join(ROOT, 'kind-config.yaml'), 'utf8')) as { networking: { podSubnet: string } };
    for (const node of lab.network.nodes()) {
      const given = lines.find(
        (line) => line.startsWith(`docker exec -i ${node.name} `) && line.includes('10-ptp.conflist'),
      );
      const { plugins } = JSON.parse(given!.split(' <<< ')[1]!) as {
        readonly plugins: readonly Record<string, unknown>[];
      };
      assert.deepEqual(
        plugins.map(({ type }) => type),
        ['ptp', 'portmap'],
      );
      assert.equal(plugins[0]!.ipMasq, false);
      assert.deepEqual((plugins[0]!.ipam as { readonly ranges: unknown }).ranges, [[{ subnet: node.podCidrs[0] }]]);
      for (const other of lab.network.nodes()) {
        const route = `docker exec ${node.name} ip route replace ${other.podCidrs[0]} via ${other.addresses[0]}`;
        assert.equal(lines.includes(route), other !== node, route);
      }
      const subnet = config.networking.podSubnet;
      const rule = `POSTROUTING -s ${subnet} ! -d ${subnet} -j MASQUERADE`;
      assert.ok(lines.includes(`docker exec ${node.name} iptables -w 5 -t nat -A ${rule}`));
    }
    const image = `docker.io/library/portcullis:${VERSION}`;
    assert.ok(lines.includes(`docker build -t ${image} .`));
    assert.ok(lines.some((line) => /^docker save -o \S+\/image\.tar /.test(line) && line.endsWith(` ${image}`)));
    assert.ok(lines.some((line) => /^kind load image-archive --name portcullis \S+\/image\.tar$/.test(line)));
    assert.ok(lab.store.get('daemonsets', { namespace: 'kube-system', name: 'portcullis' }));
  });

  it('kind-test finds everything right, and shows the first denied packets', async () => {
    if (lab === undefined) return;
    const { code, out, err } = await run('kind-test');
    assert.equal(code, 0, `${out}\n${err}`);
    assert.match(out, /\n15 right, 0 wrong\n$/);
    assert.match(out, /"verdict":"denied".*portcullis-smoke\/stranger/);
  });

  it('kind-test finds what is not enforced', async () => {
    if (lab === undefined) return;
    for (const name of NODES)
      lab.store.patch('nodes', { name }, 'merge', { metadata: { annotations: { 'portcullis.dev/mode': 'audit' } } });
    const { code, out } = await run('kind-test', { PORTCULLIS_SMOKE_PATIENCE: '1' });
    assert.equal(code, 1, out);
    assert.match(out, /WRONG {2}stranger -> server-1:8080 {2}yes, expected no/);
    assert.match(out, /, 5 wrong\n$/);
  });
});

function realKubectl(): string | undefined {
  try {
    execFileSync('kubectl', ['version', '--client'], { stdio: 'pipe', timeout: 20_000 });
    return execFileSync('sh', ['-c', 'command -v kubectl'], { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
}
