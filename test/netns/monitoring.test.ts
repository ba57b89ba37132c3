/** A real Prometheus beside two agents, fed by what the component `metrics` says. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import { getPage } from '../../lab/agent-process.ts';
import type { DaemonSetObject, PodObject } from '../../lab/api/objects.ts';
import { planDaemonSet } from '../../lab/controllers/plan-workloads.ts';
import { buildKustomization } from '../../lab/kustomize.ts';
import { AgentLab, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { discoverPods, type PodMonitor, scrapeConfig } from '../support/scrape-config.ts';
import { needTool } from '../support/test-tools.ts';

const MANIFESTS = fileURLToPath(new URL('../../manifests/', import.meta.url));
const PORT = 9090;
const NODES = ['node-1', 'node-2'] as const;
/** Prometheus asks each second here; rates look back over some of them. */
const RATE_INTERVAL = '8s';

interface Answer {
  readonly status: string;
  readonly error?: string;
  readonly data: { readonly result: readonly { readonly metric: Readonly<Record<string, string>> }[] };
}

interface Dashboard {
  readonly panels: readonly {
    readonly title: string;
    readonly targets?: readonly { readonly refId: string; readonly expr: string }[];
  }[];
  readonly templating: { readonly list: readonly { readonly type: string; readonly query: string }[] };
}

describe('Prometheus through the component metrics', function () {
  this.timeout(120_000);
  let lab: AgentLab;
  let promtool: string;
  let prometheus: ChildProcess | undefined;
  let socket: string;
  let output = '';

  before(async function () {
    skipUnlessRoot.call(this);
    promtool = needTool(this, 'promtool');
    const program = needTool(this, 'prometheus');
    lab = await AgentLab.create({ nodes: NODES, families: [4] });
    await lab.pods({
      'x/server': {},
      'x/client': {},
      'x/other': {},
      'y/server': { node: 'node-2' },
      'y/client': { node: 'node-2' },
    });
    for (const namespace of ['x', 'y']) {
      lab.policy(`${namespace}/web`, {
        podSelector: { matchLabels: { pod: 'server' } },
        ingress: [
          { from: [{ podSelector: { matchLabels: { pod: 'client' } } }], ports: [{ port: 80, protocol: 'TCP' }] },
        ],
      });
    }
    lab.annotateNode('node-2', { 'portcullis.dev/mode': 'audit' });
    await Promise.all(NODES.map((node) => lab.start(node, { flags: ['--metrics-address=:9848'] })));
    prometheus = startPrometheus(program);
    socket = (await lab.lab.network.reachNodePort('node-1', PORT)).path;
  });
  after(async () => {
    prometheus?.kill('SIGKILL');
    await lab?.close();
  });

  function startPrometheus(program: string): ChildProcess {
    const folder = join(lab.lab.dir, 'prometheus');
    mkdirSync(folder, { recursive: true });
    const monitor = parse(readFileSync(join(MANIFESTS, 'components/metrics/pod-monitor.yaml'), 'utf8')) as PodMonitor;
    const { kubernetes_sd_configs: _, ...config } = scrapeConfig(monitor);
    const targets = join(folder, 'pods.json');
    writeFileSync(targets, JSON.stringify(discoverPods(agentPods())));
    const settings = {
      global: { evaluation_interval: '1s' },
      rule_files: [join(MANIFESTS, 'helm/files/rules.yaml')],
      scrape_configs: [
        { ...config, scrape_interval: '1s', scrape_timeout: '1s', file_sd_configs: [{ files: [targets] }] },
      ],
    };
    const file = join(folder, 'prometheus.yml');
    writeFileSync(file, stringify(settings));
    execFileSync(promtool, ['check', 'config', file], { stdio: 'pipe' });
    const { argv, env } = lab.lab.network.nodeCommand('node-1', [
      program,
      `--config.file=${file}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${PORT}`,
    ]);
    const child = spawn(argv[0], argv.slice(1), { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    return child;
  }

  /** As the DaemonSet makes them; the lab has the agents themselves, on the nodes. */
  function agentPods(): readonly PodObject[] {
    const objects = buildKustomization(join(MANIFESTS, 'overlays/monitored')).map(({ object }) => object);
    const daemonSet = objects.find((object) => (object as DaemonSetObject).kind === 'DaemonSet') as DaemonSetObject;
    const { create } = planDaemonSet(daemonSet, [], lab.lab.store.list('nodes'));
    return (create as readonly PodObject[]).map((pod) => ({
      ...pod,
      metadata: { ...pod.metadata, name: `portcullis-${pod.spec.nodeName}` },
      status: { phase: 'Running', podIP: lab.address(pod.spec.nodeName!) },
    }));
  }

  async function ask(path: string): Promise<unknown> {
    const { body } = await getPage(socket, path);
    return JSON.parse(body);
  }

  async function query(expression: string): Promise<Answer['data']['result']> {
    const answer = (await ask(`/api/v1/query?query=${encodeURIComponent(expression)}`)) as Answer;
    assert.equal(answer.status, 'success', `${expression}: ${answer.error}`);
    return answer.data.result;
  }

  async function traffic(): Promise<void> {
    await lab.wrong(
      ['x/client -> x/server', 'x/other -x x/server', 'y/client -> y/server', 'x/other -> y/server'],
      ['TCP'],
    );
  }

  it('finds one target per node, under the name of its node', async () => {
    let found: readonly string[] = [];
    await until(
      async () => {
        const result = await query('up{job="portcullis"} == 1').catch(() => []);
        found = result.map(({ metric }) => metric.node!).sort();
        return found.length === NODES.length;
      },
      () => `two targets are up: ${found.join(', ')}\n${output.slice(-3_000)}`,
      30_000,
    );
    assert.deepEqual(found, NODES);
  });

  it('keeps the namespace of policies apart from that of the agent', async () => {
    await traffic();
    const seen = async () =>
      (await query('portcullis_denied_packets_total{namespace="x",policies="web",flow="new"} > 0')).length > 0;
    await until(seen, () => `a denial of x/web\n${output.slice(-2_000)}`, 20_000);
    assert.deepEqual(await query('{__name__=~"portcullis_.*",exported_namespace=~".+"}'), []);
    assert.deepEqual(await query('{__name__=~"portcullis_.*",namespace="kube-system"}'), []);
  });

  it('promtool finds nothing to blame in what an agent serves', async () => {
    const { body } = await lab.agents.get('node-1')!.get('/metrics');
    const ours = body.split('\n').filter((line) => /^(?:# (?:HELP|TYPE) )?portcullis_/.test(line));
    assert.ok(ours.length > 50);
    const said = execFileSync(promtool, ['check', 'metrics'], { input: `${ours.join('\n')}\n`, encoding: 'utf8' });
    assert.equal(said, '');
  });

  it('every rule is evaluated without an error', async () => {
    const rules = async () =>
      (
        (await ask('/api/v1/rules')) as {
          data: { groups: { rules: { name: string; health: string; lastError?: string }[] }[] };
        }
      ).data.groups.flatMap((group) => group.rules);
    await until(async () => (await rules()).every(({ health }) => health !== 'unknown'), 'rules are evaluated', 20_000);
    const wrong = (await rules()).filter(({ health }) => health !== 'ok');
    assert.deepEqual(wrong, []);
    assert.ok((await rules()).length >= 10);
  });

  it('every query of the dashboard returns data, and every variable has values', async () => {
    const { panels, templating } = JSON.parse(
      readFileSync(join(MANIFESTS, 'components/metrics/dashboard.json'), 'utf8'),
    ) as Dashboard;
    const queries = panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ refId, expr }) => ({ what: `${title}, ${refId}`, expr: filled(expr) })),
    );
    const labelValues = templating.list.flatMap(({ type, query: text }) => {
      const [, series, label] = /^label_values\((.*), (\w+)\)$/.exec(text) ?? [];
      return type === 'query' ? [{ what: text, expr: `count by (${label}) (${series})` }] : [];
    });
    assert.ok(queries.length > 20 && labelValues.length === 2);
    let empty = [...queries, ...labelValues];
    await until(
      async () => {
        await traffic();
        const results = await Promise.all(empty.map(async ({ expr }) => await query(expr)));
        empty = empty.filter((_, index) => results[index]!.length === 0);
        return empty.length === 0;
      },
      () => empty.map(({ what, expr }) => `${what}: ${expr}`).join('\n'),
      45_000,
    );
  });

  it('an agent that is killed raises an alert that names its node', async () => {
    await lab.agents.get('node-2')!.end('SIGKILL');
    let active: readonly { labels: Readonly<Record<string, string>> }[] = [];
    await until(
      async () => {
        const answer = (await ask('/api/v1/alerts')) as { data: { alerts: typeof active } };
        active = answer.data.alerts;
        return active.some(({ labels }) => labels.alertname === 'PortcullisAgentDown' && labels.node === 'node-2');
      },
      () => `PortcullisAgentDown for node-2, not ${JSON.stringify(active)}`,
      20_000,
    );
    assert.ok(!active.some(({ labels }) => labels.node === 'node-1'), JSON.stringify(active));
  });

  function filled(expr: string): string {
    return expr.replaceAll('$__rate_interval', RATE_INTERVAL).replaceAll(/\$(?:node|namespace)\b/g, '.*');
  }
});
