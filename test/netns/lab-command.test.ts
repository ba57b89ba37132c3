/** `portcullis lab` as people run it: every example, changes by kubectl, every way to end it. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { getPage, missingConditions } from '../../lab/agent-process.ts';
import { labNamespaces, STATE_ROOT, sweep } from '../../lab/network/lab-state.ts';

const MAIN = fileURLToPath(new URL('../../lab/main.ts', import.meta.url));
const EXAMPLES = fileURLToPath(new URL('../../examples/', import.meta.url));

/** A machine that others use may stand still for a while. */
const PATIENCE_MS = 30_000;

interface Report {
  readonly ok: boolean;
  readonly lab: { readonly mode: string; readonly kubeconfig?: string };
  readonly policies: readonly { readonly name: string }[];
  readonly clusterPolicies: readonly { readonly name: string }[];
  readonly steps: readonly {
    readonly policy: string;
    readonly millisecondsToEnforced: number | null;
    readonly nowDenied: readonly object[];
    readonly nowAllowed: readonly object[];
  }[];
  readonly counts: { readonly cells: number; readonly agree: number; readonly differ: number; readonly flap: number };
  readonly cells: readonly {
    readonly from: string;
    readonly to: string;
    readonly family: number;
    readonly predicted: string;
    readonly measured: string;
    readonly verdict: string;
  }[];
}

class LabProcess {
  stdout = '';
  stderr = '';
  readonly child: ChildProcess;
  readonly ended: Promise<number>;
  #read = 0;

  constructor(...args: readonly string[]) {
    const env = { ...process.env, NO_COLOR: undefined, FORCE_COLOR: undefined, COLUMNS: undefined };
    this.child = spawn(process.execPath, [MAIN, 'lab', ...args], { stdio: ['ignore', 'pipe', 'pipe'], env });
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    // Told apart from exit codes by the shell's convention.
    this.ended = new Promise((resolve) => this.child.on('close', (code) => resolve(code ?? 128)));
  }

  /** Waits for `pattern` in what was written since the last match; gives the match. */
  async saw(pattern: RegExp): Promise<RegExpExecArray> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const found = pattern.exec(this.stdout.slice(this.#read));
      if (found) {
        this.#read += found.index + found[0].length;
        return found;
      }
      if (Date.now() > deadline || this.child.exitCode !== null) {
        assert.fail(`${pattern} not seen in:\n${this.stdout.slice(this.#read)}\n${this.stderr}`);
      }
      await sleep(20);
    }
  }

  async kubeconfig(): Promise<string> {
    const [, path] = await this.saw(/export KUBECONFIG=(\S+)/);
    return path!;
  }

  /** The answer to a change: all between its first line and the verdict on the matrix. */
  async change(pattern: RegExp): Promise<string> {
    await this.saw(pattern);
    const from = this.#read;
    await this.saw(/(agree in all of|(is|are) not as predicted:|changes nothing for packets).*/);
    return this.stdout.slice(from, this.#read);
  }
}

async function run(...args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const lab = new LabProcess(...args);
  const code = await lab.ended;
  return { code, stdout: lab.stdout, stderr: lab.stderr };
}

/** Processes whose command line names the lab, such as its agents, or that live in its namespaces. */
function processesOf(prefix: string): string[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .flatMap((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return command.includes(prefix) ? [`${pid} ${command}`] : [];
      } catch {
        return [];
      }
    });
}

function agentsOf(prefix: string): string[] {
  return processesOf(prefix).filter((command) => command.includes(' agent '));
}

/** Labs of a process that are still there. */
function labsOf(pid: number): string[] {
  if (!existsSync(STATE_ROOT)) return [];
  return readdirSync(STATE_ROOT).filter((prefix) => {
    try {
      return readFileSync(join(STATE_ROOT, prefix, 'owner.json'), 'utf8').includes(`"pid":${pid},`);
    } catch {
      return false;
    }
  });
}

async function eventually(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (!holds()) {
    if (Date.now() > deadline) assert.fail(what);
    await sleep(20);
  }
}

function assertNothingLeft(prefix: string): void {
  assert.deepEqual(labNamespaces(prefix), []);
  assert.equal(existsSync(join(STATE_ROOT, prefix)), false);
  assert.deepEqual(processesOf(prefix), []);
}

function whyNoKubectl(): string | undefined {
  try {
    execFileSync('kubectl', ['version', '--client'], { stdio: 'pipe', timeout: 10_000 });
    return undefined;
  } catch (error) {
    return (error as Error).message.split('\n')[0];
  }
}

/** Without what a slow machine makes it say: the lines that tell what is waited for. */
function complaints(stderr: string): string {
  return stderr.replaceAll(/^\.\.\. .*\n/gm, '');
}

describe('portcullis lab', function () {
  this.timeout(60_000);
  const processes: LabProcess[] = [];
  let folder: string;

  before(function () {
    if (process.getuid?.() !== 0) this.skip();
    folder = mkdtempSync(join(tmpdir(), 'portcullis-lab-test-'));
  });
  after(() => {
    if (folder) rmSync(folder, { recursive: true, force: true });
  });
  afterEach(async () => {
    for (const { child, ended } of processes.splice(0)) {
      child.kill('SIGTERM');
      await ended;
    }
  });

  function start(...args: readonly string[]): LabProcess {
    const lab = new LabProcess(...args);
    processes.push(lab);
    return lab;
  }

  describe('runs every example', () => {
    const folders = readdirSync(EXAMPLES, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    const clusters = folders.filter(({ name }) => name !== 'ci');

    for (const { name } of clusters) {
      it(`${name}: packets do what the policies say, each policy timed`, async () => {
        const { code, stdout, stderr } = await run('-f', join(EXAMPLES, name), '-o', 'json');
        assert.equal(code, 0, stderr + stdout);
        assert.equal(complaints(stderr), '');
        const { ok, counts, steps, policies, clusterPolicies, cells } = JSON.parse(stdout) as Report;
        assert.deepEqual([ok, counts.agree, counts.differ, counts.flap], [true, counts.cells, 0, 0]);
        assert.equal(steps.length, policies.length + clusterPolicies.length);
        for (const { policy, millisecondsToEnforced, nowAllowed, nowDenied } of steps) {
          assert.ok(millisecondsToEnforced !== null && millisecondsToEnforced < 5000, policy);
          assert.ok(nowAllowed.length + nowDenied.length > 0, `${policy} teaches nothing`);
        }
        assert.ok(
          cells.some(({ predicted }) => predicted === 'denied') && cells.some(({ measured }) => measured === 'reached'),
        );
      });
    }

    it('is introduced by a line in examples/README.md each', () => {
      const readme = readFileSync(join(EXAMPLES, 'README.md'), 'utf8');
      for (const { name } of folders) assert.ok(readme.includes(`- [${name}](${name}):`), name);
    });
  });

  it('tells a pipe the story in plain text', async () => {
    const { code, stdout, stderr } = await run('-f', join(EXAMPLES, 'default-deny'));
    assert.equal(code, 0, stderr);
    assert.equal(stdout.includes('\u001B'), false);
    assert.match(
      stdout,
      /\+ vault\/default-deny {2}enforced after \d+ ms, 10 of 12 cells change\n +now denied {3}vault\/safe -> /,
    );
    assert.match(stdout, /1 policy in force:\n {2}vault\/default-deny {2}Ingress and Egress of every pod\n/);
    assert.match(stdout, /TCP 80 on IPv4 and IPv6\n/);
    assert.match(stdout, /Rows send, columns receive:/);
    assert.match(stdout, /agree in all of 12 cells, asked twice/);
  });

  it('ends with 1 and marks the cells when agents only audit', async () => {
    const { code, stdout } = await run('-f', join(EXAMPLES, 'default-deny'), '--mode', 'audit');
    assert.equal(code, 1);
    assert.match(stdout, /^1 vault\/safe +- X X X +- ! ! !$/m);
    assert.match(stdout, /^10 of 12 cells are not as predicted:$/m);
    assert.match(stdout, /vault\/safe -> world TCP 80 IPv4 \(203\.0\.113\.10\): should be dropped, was reached/);
    assert.match(stdout, /mode audit, which drops nothing/);
    assert.match(
      stdout,
      /^Connections that enforcing .*:\n {2}vault\/default-deny {2}egress [1-9]\d*, ingress [1-9]\d*$/m,
    );
  });

  it('shows what one audited policy would deny, as the agents counted it', async () => {
    const file = join(folder, 'audited.yaml');
    const text = readFileSync(join(EXAMPLES, 'default-deny/default-deny.yaml'), 'utf8');
    writeFileSync(
      file,
      text.replace('  name: default-deny\n', '  name: default-deny\n  annotations: {portcullis.dev/mode: audit}\n'),
    );
    const { code, stdout } = await run('-f', file, '--families', '4');
    assert.equal(code, 0, stdout);
    assert.match(stdout, /^1 vault\/safe +- \. \. \. +- \. \. \.$/m);
    assert.match(
      stdout,
      /^Connections that enforcing .*:\n {2}vault\/default-deny {2}egress [1-9]\d*, ingress [1-9]\d*$/m,
    );
  });

  it('brings up every kind of workload, skips what it has no use for, and says so', async () => {
    const file = join(folder, 'kinds.yaml');
    const template = (name: string, more = ''): string =>
      `template: {metadata: {labels: {a: ${name}}}, spec: {containers: [{name: c, image: i}]${more}}}`;
    const selector = (name: string): string => `selector: {matchLabels: {a: ${name}}}`;
    writeFileSync(
      file,
      [
        `apiVersion: batch/v1\nkind: Job\nmetadata: {name: job}\nspec: {${template('job', ', restartPolicy: Never')}}`,
        `apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: ds}\nspec: {${selector('ds')}, ${template('ds', ', hostNetwork: true')}}`,
        `apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: sts}\nspec: {replicas: 2, serviceName: s, ${selector('sts')}, ${template('sts')}}`,
        `apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: rs}\nspec: {replicas: 2, ${selector('rs')}, ${template('rs', ', nodeSelector: {disk: ssd}')}}`,
        'apiVersion: v1\nkind: Node\nmetadata: {name: node-2, labels: {disk: ssd}}',
        'apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}',
      ].join('\n---\n'),
    );
    const { code, stdout, stderr } = await run('-f', file, '-o', 'json', '--families', '4');
    assert.equal(code, 0, stderr);
    // What the lab waits for is said only where the machine is slow.
    const said = stderr.replaceAll(/^\.\.\. for .*\n/gm, '');
    assert.equal(
      said,
      `! ${file}:25: document 6: Widget w (example.com/v1): the lab has no use for this kind, skipped\n`,
    );
    const { endpoints } = JSON.parse(stdout) as { endpoints: { name: string; node: string; hostNetwork: boolean }[] };
    const named = (prefix: string) => endpoints.filter(({ name }) => name.startsWith(`default/${prefix}-`));
    assert.deepEqual(
      ['job', 'ds', 'sts', 'rs'].map((name) => named(name).length),
      [1, 2, 2, 2],
    );
    assert.ok(named('rs').every(({ node }) => node === 'node-2'));
    assert.ok(named('ds').every(({ hostNetwork }) => hostNetwork));
  });

  it('cuts a live download with a policy that concerns it, and leaves it alone with one that does not', async () => {
    // The limit is wide here: the machine may stand still for a while.
    const lab = start('--demo', 'live-download', '--timeout', '20', '-o', 'json');
    assert.equal(await lab.ended, 0, `${lab.stdout}\n${lab.stderr}`);
    const report = JSON.parse(lab.stdout) as {
      ok: boolean;
      cutAfterMs: number;
      throughput: { bytesPerSecond: number }[];
    };
    assert.ok(report.ok && report.cutAfterMs < 20_000);
    const rates = report.throughput.map(({ bytesPerSecond }) => bytesPerSecond);
    assert.ok(Math.max(...rates) > 100_000, 'something was downloaded');
    assert.equal(rates.at(-1), 0, 'and nothing any more in the end');
  });

  it('fails when the policy that concerns the download does not cut it', async () => {
    const lab = start('--demo', 'live-download', '--mode', 'audit', '--timeout', '1');
    assert.equal(await lab.ended, 1, `${lab.stdout}\n${lab.stderr}`);
    assert.match(lab.stdout, /The policy that does: not cut/);
  });

  it('names pods that no node takes, and gives up at once', async () => {
    const file = join(folder, 'stuck.yaml');
    writeFileSync(
      file,
      `apiVersion: v1
kind: Pod
metadata: {name: far}
spec: {nodeName: worker-7, containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Pod
metadata: {name: picky}
spec: {nodeSelector: {disk: ssd}, containers: [{name: c, image: i}]}
`,
    );
    const { code, stderr } = await run('-f', file);
    assert.equal(code, 1);
    assert.match(stderr, /^! pod default\/far: spec\.nodeName: no node "worker-7" in this lab, only node-1, node-2$/m);
    assert.match(stderr, /^! pod default\/picky: spec\.nodeSelector: disk=ssd matches none of node-1, node-2; /m);
  });

  describe('left up', () => {
    it('follows kubectl, and the packets follow, too', async function () {
      const missing = whyNoKubectl();
      if (missing !== undefined) {
        console.log(`      skipped: kubectl cannot be run: ${missing}`);
        this.skip();
      }
      const lab = start('-f', join(EXAMPLES, 'three-tier'), '--keep', '--families', '4');
      const kubeconfig = await lab.kubeconfig();
      const kubectl = (...args: readonly string[]): Promise<string> =>
        new Promise((resolve, reject) => {
          const env = { ...process.env, KUBECONFIG: kubeconfig, HOME: folder };
          execFile('kubectl', [...args], { env, timeout: PATIENCE_MS }, (error, stdout, stderr) =>
            error ? reject(error) : resolve(stdout + stderr),
          );
        });
      const policies = join(EXAMPLES, 'three-tier', '01-policies.yaml');

      assert.match(await kubectl('get', 'pods', '-A'), /^shop +db +1\/1 +Running/m);
      const follows = async (args: readonly string[], line: RegExp, ...wanted: readonly RegExp[]): Promise<void> => {
        assert.doesNotMatch(await kubectl(...args), /Warning|Error/);
        const text = await lab.change(line);
        for (const pattern of wanted) assert.match(text, pattern, args.join(' '));
        assert.doesNotMatch(text, /(is|are) not as predicted/);
      };

      await follows(
        ['delete', 'netpol', '-n', 'shop', 'e-db'],
        /deleted NetworkPolicy shop\/e-db/,
        /now denied +shop\/api -> shop\/db/,
        /enforced \d+ ms after the change/,
      );
      await follows(
        ['apply', '-f', policies],
        /created NetworkPolicy shop\/e-db/,
        /now allowed +shop\/api -> shop\/db/,
      );
      await follows(
        ['label', 'pod', '-n', 'shop', 'api', 'tier=idle', '--overwrite'],
        /labels of Pod shop\/api: \+tier=idle/,
        /now denied +shop\/api -> shop\/db/,
      );
      await follows(
        ['label', 'pod', '-n', 'shop', 'api', 'tier=api', '--overwrite'],
        /labels of Pod shop\/api: \+tier=api/,
        /now allowed/,
      );
      await follows(
        ['label', 'namespace', 'kube-system', 'kubernetes.io/metadata.name=kube-system', 'team=dns'],
        /labels of Namespace kube-system: \+team=dns/,
        /changes nothing for packets/,
      );
      await follows(
        ['scale', '-n', 'shop', 'deployment/web', '--replicas=3'],
        /created Pod shop\/web-/,
        /new +shop\/web-/,
      );
      await follows(
        ['run', '-n', 'shop', 'extra', '--image=x', '--labels=tier=db'],
        /created Pod shop\/extra/,
        /new +shop\/extra/,
      );
      await follows(
        ['delete', 'pod', '-n', 'shop', 'extra', '--grace-period=5'],
        /deleted Pod shop\/extra/,
        /gone +shop\/extra/,
      );

      lab.child.kill('SIGTERM');
      assert.equal(await lab.ended, 0, lab.stderr);
      assertNothingLeft(basename(dirname(kubeconfig)));
    });

    it('shows what agents print to kubectl logs, once their manifests are applied', async function () {
      const missing = whyNoKubectl();
      if (missing !== undefined) {
        console.log(`      skipped: kubectl cannot be run: ${missing}`);
        this.skip();
      }
      const lab = start('-f', join(EXAMPLES, '../manifests'), '--keep', '--families', '4');
      const env = { ...process.env, KUBECONFIG: await lab.kubeconfig(), HOME: folder };
      const kubectl = (...args: readonly string[]): string =>
        execFileSync('kubectl', args, { env, encoding: 'utf8', timeout: PATIENCE_MS });
      const [, socket, url] = await lab.saw(/curl --unix-socket (\S+) (\S+)/);
      const page = await getPage(socket!, new URL(url!).pathname + new URL(url!).search);
      assert.deepEqual([page.status, [...missingConditions(page.body)]], [200, []], page.body);
      const pods = kubectl('get', 'pods', '-n', 'kube-system', '-o', 'name').trim().split('\n');
      assert.equal(pods.length, 2, String(pods));
      for (const pod of pods) {
        const node = kubectl('get', '-n', 'kube-system', pod, '-o', 'jsonpath={.spec.nodeName}');
        const log = kubectl('logs', '-n', 'kube-system', pod);
        const lines = log
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as { message: string });
        assert.ok(
          lines.some(({ message }) => message.startsWith('first sync done')),
          log,
        );
        assert.equal(log, readFileSync(join(dirname(env.KUBECONFIG), `${node}.log`), 'utf8').slice(0, log.length));
      }
    });

    it('ends with 1 when packets do not do what policies say: a foreign rule that drops', async () => {
      const lab = start(
        '-f',
        join(EXAMPLES, 'default-deny'),
        '--keep',
        '-o',
        'json',
        '--families',
        '4',
        '--timeout',
        '1',
      );
      await lab.saw(/^\{.*\}\n/m);
      const before = JSON.parse(lab.stdout) as Report;
      assert.equal(before.ok, true);
      const prefix = basename(dirname(before.lab.kubeconfig!));
      const rule = ['iptables-nft', '-I', 'INPUT', '-s', '10.244.0.0/16', '-j', 'DROP'];
      const back = ['iptables-nft', '-I', 'OUTPUT', '-d', '10.244.0.0/16', '-j', 'DROP'];
      for (const one of [rule, back]) execFileSync('ip', ['netns', 'exec', `${prefix}node_node-1`, ...one]);
      await patchNamespace(before.lab.kubeconfig!);
      await lab.saw(/^\{.*\}\n/m);
      lab.child.kill('SIGINT');
      assert.equal(await lab.ended, 1, lab.stderr);
      const after = JSON.parse(lab.stdout.trim().split('\n').at(-1)!) as Report;
      const wrong = after.cells.filter(({ verdict }) => verdict !== 'agrees');
      assert.deepEqual(
        wrong.map(({ from, to, predicted, measured }) => `${from} ${to} ${predicted} ${measured}`),
        ['node-1 vault/safe allowed blocked'],
      );
      assertNothingLeft(prefix);
    });

    // SIGINT ends the lab with the foreign rule.
    for (const signal of ['SIGTERM', 'SIGHUP'] as const) {
      it(`is taken down by ${signal}`, async () => {
        const lab = start('-f', join(EXAMPLES, 'default-deny'), '--keep', '--no-steps');
        const prefix = basename(dirname(await lab.kubeconfig()));
        assert.equal(agentsOf(prefix).length, 2);
        lab.child.kill(signal);
        assert.equal(await lab.ended, 0, lab.stderr);
        assert.equal(complaints(lab.stderr), '');
        assertNothingLeft(prefix);
      });
    }

    it('is taken down in the middle of its beginning, and says that it was interrupted', async () => {
      const lab = start('-f', join(EXAMPLES, 'three-tier'));
      await eventually('no lab', () => labsOf(lab.child.pid!).some((prefix) => labNamespaces(prefix).length > 2));
      const [prefix] = labsOf(lab.child.pid!);
      lab.child.kill('SIGTERM');
      assert.equal(await lab.ended, 1, lab.stderr);
      assert.match(lab.stdout, /Interrupted: everything is taken down/);
      assert.equal(complaints(lab.stderr), '');
      assertNothingLeft(prefix!);
    });

    it('is taken down when nobody reads what it says', async () => {
      const lab = start('-f', join(EXAMPLES, 'three-tier'), '--keep');
      const pid = lab.child.pid!;
      await lab.saw(/agents are ready/);
      const [prefix] = labsOf(pid);
      lab.child.stdout!.destroy();
      assert.equal(await lab.ended, 1);
      assertNothingLeft(prefix!);
    });

    it('takes its agents with it when it is killed, and the next sweep takes the rest', async () => {
      const lab = start('-f', join(EXAMPLES, 'default-deny'), '--keep', '--no-steps');
      const prefix = basename(dirname(await lab.kubeconfig()));
      assert.equal(agentsOf(prefix).length, 2);
      lab.child.kill('SIGKILL');
      await lab.ended;
      await eventually('agents live on', () => agentsOf(prefix).length === 0);
      await eventually('probers live on', () => processesOf(prefix).length === 0);
      sweep();
      assertNothingLeft(prefix);
    });
  });
});

/** A change that concerns packets, without kubectl. */
async function patchNamespace(kubeconfig: string): Promise<void> {
  const { KubeConfig, CoreV1Api, PatchStrategy, setHeaderOptions } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  config.loadFromFile(kubeconfig);
  const api = config.makeApiClient(CoreV1Api);
  const body = { metadata: { labels: { touched: 'yes' } } };
  const options = setHeaderOptions('Content-Type', PatchStrategy.MergePatch);
  await api.patchNamespace({ name: 'vault', body }, options);
}
