/** `portcullis verify` without a kernel: what is planned, what logs say, expectations by policies, and what cannot be told. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { startApiServer } from '../../lab/api/api-server.ts';
import { startInstantKubelet } from '../../lab/controllers/instant-kubelet.ts';
import { countedOn } from '../../src/cli/verify/droppers.ts';
import { junitText } from '../../src/cli/verify/junit.ts';
import {
  clientPlan,
  isToReach,
  judgeOf,
  PHASES,
  type Phase,
  policiesOf,
  probesOf,
  sampleOf,
  serverPlan,
} from '../../src/cli/verify/plan.ts';
import { probePod, readRounds } from '../../src/cli/verify/probe-pods.ts';
import { createEvaluator } from '../../src/policy/evaluate.ts';
import type { Policy } from '../../src/policy/model.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { namespace, pod, snapshot } from '../support/builders.ts';
import { type CommandRun, runCommand } from '../support/command-line.ts';

const THREE_TIER = fileURLToPath(new URL('../../examples/three-tier', import.meta.url));
const EXAMPLE = fileURLToPath(new URL('../../examples/ci', import.meta.url));

describe('portcullis verify: what is sent', () => {
  for (const nodes of [1, 2, 5])
    it(`what has to reach is what the policies of each phase say, by the evaluator; ${nodes} nodes`, () => {
      const names = Array.from({ length: nodes }, (_, place) => `node-${place}`);
      const servers = names.map((_, place) => [`10.0.${place}.1`, `fd00:${place}::1`]);
      const pods = names.flatMap((node, place) => [
        pod(`v/server-${place}`, {
          nodeName: node,
          addresses: servers[place]!,
          labels: serverPlan(node, place).labels,
        }),
        pod(`v/client-${place}`, {
          nodeName: node,
          addresses: [`10.0.${place}.2`, `fd00:${place}::2`],
          labels: clientPlan(node, place).labels,
        }),
      ]);
      const seen = new Map<Phase, Set<boolean>>();
      for (const phase of PHASES) {
        const policies = policiesOf(phase, nodes).map((object): Policy => {
          const { policy, problems } = parsePolicy({ ...object, metadata: { ...object.metadata, namespace: 'v' } });
          assert.deepEqual(problems, []);
          return policy!;
        });
        const evaluator = createEvaluator(snapshot({ namespaces: [namespace('v')], pods, policies }));
        const judges = new Set<number>();
        for (const probe of probesOf(servers)) {
          const source = probe.family === 4 ? `10.0.${probe.from}.2` : `fd00:${probe.from}::2`;
          const destination = servers[probe.to]![probe.family === 4 ? 0 : 1]!;
          const { allowed } = evaluator.evaluate({ source, destination, protocol: 6, port: probe.port });
          assert.equal(isToReach(phase, probe, nodes), allowed, `${phase} ${JSON.stringify(probe)}`);
          seen.set(phase, (seen.get(phase) ?? new Set()).add(allowed));
          judges.add(judgeOf(phase, probe));
        }
        assert.equal(judges.size, nodes, `${phase} tells of every node`);
      }
      assert.deepEqual(
        PHASES.map((phase) => [false, true].filter((each) => seen.get(phase)!.has(each))),
        [[true], [false], [false, true], [false], [false, true]],
      );
    });

  it('a sample is spread over the list', () => {
    assert.deepEqual(sampleOf([1, 2, 3, 4, 5, 6], 3), [1, 3, 5]);
    assert.deepEqual(sampleOf([1, 2], 3), [1, 2]);
    assert.deepEqual(sampleOf([1, 2], undefined), [1, 2]);
  });

  it('of a log the rounds that are whole count, and nothing else', () => {
    const log =
      '1 a:1 reached\n1 b:1 blocked\n1 done\nnoise\n2 b:1 reached\n2 a:1 refused\n2 done\n3 a:1 reached\n3 done\n4 a:1 rea';
    assert.deepEqual(
      readRounds(log, ['a:1', 'b:1']).map(({ number, outcomes }) => [number, outcomes.get('a:1'), outcomes.get('b:1')]),
      [
        [1, 'reached', 'blocked'],
        [2, 'refused', 'reached'],
      ],
    );
  });

  it('the script of a pod tells what came of each connection, and what it could not try', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-script-'));
    // In the place of busybox's: what it is asked for says how it ends.
    const wget =
      '#!/bin/sh\nfor url; do :; done\ncase $url in *//a:*) exit 0;; *//b:*) exit 1;; *//c:*) exec sleep 5;; esac\nkill -SEGV $$\n';
    writeFileSync(join(folder, 'wget'), wget, { mode: 0o755 });
    const targets = ['a:1', 'b:1', 'c:1', 'd:1'];
    const { spec } = probePod({ name: 'p', node: 'n', labels: {} }, 'image', targets) as {
      spec: { containers: { command: string[] }[] };
    };
    const [program, ...argv] = spec.containers[0]!.command;
    const child = spawn(program!, argv, { env: { PATH: `${folder}:${process.env.PATH}`, TARGETS: targets.join(' ') } });
    let log = '';
    await new Promise<void>((resolve) => {
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        log += text;
        if (readRounds(log, targets).length > 0) resolve();
      });
    });
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
    const [{ outcomes }] = readRounds(log, targets) as [ReturnType<typeof readRounds>[number]];
    assert.deepEqual(
      targets.map((target) => outcomes.get(target)),
      ['reached', 'refused', 'blocked', 'failed'],
    );
  });

  it('of what agents denied only flows between pods of the run count', () => {
    const denial = (from: string, to: string, verdict = 'denied') => ({
      verdict,
      direction: 'ingress',
      source: { pod: from },
      destination: { pod: to },
      policies: [{ policy: 'v/deny-ingress' }],
    });
    const found = countedOn(
      'n',
      [denial('v/a', 'v/b'), denial('v/c', 'v/b'), denial('x/a', 'v/b'), denial('v/a', 'v/b', 'would-deny')],
      'v',
    );
    assert.deepEqual(found, [{ node: 'n', direction: 'ingress', policy: 'v/deny-ingress', flows: 2 }]);
  });

  it('JUnit holds whatever a name is', () => {
    const text = junitText(
      'a"b',
      [
        { suite: 's', name: '<x> & \u0000', failure: 'one\ntwo' },
        { suite: 's', name: 'y', skipped: 'why' },
        { suite: 't', name: 'z' },
      ],
      1.5,
    );
    assert.equal(
      text,
      `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="a&quot;b" tests="3" failures="1" errors="0" skipped="1" time="1.500">
  <testsuite name="s" tests="2" failures="1" errors="0" skipped="1">
    <testcase classname="s" name="&lt;x&gt; &amp; ?">
      <failure message="one">one
two</failure>
    </testcase>
    <testcase classname="s" name="y">
      <skipped message="why"/>
    </testcase>
  </testsuite>
  <testsuite name="t" tests="1" failures="0" errors="0" skipped="0">
    <testcase classname="t" name="z"/>
  </testsuite>
</testsuites>
`,
    );
  });
});

describe('portcullis verify: expectations by policies', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-expect-'));
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function verify(text: string, ...argv: string[]): Promise<CommandRun> {
    const file = join(folder, 'expectations.yaml');
    writeFileSync(file, `apiVersion: portcullis.dev/v1alpha1\nkind: ReachExpectations\n${text}`);
    return runCommand(['verify', '-f', file, '-f', THREE_TIER, ...argv]);
  }

  it('the example holds', async () => {
    const { code, out, err } = await runCommand(['verify', '-f', EXAMPLE, '-f', THREE_TIER]);
    assert.equal(err, '');
    assert.match(out, /expectations hold by policies\n$/);
    assert.equal(code, 0, out);
  });

  it('tells which do not hold, for which pair, and which policies make it so', async () => {
    const { code, out } = await verify(
      `namespace: shop
expect:
  - {from: web, to: api, port: api, reach: true}
  - {from: web, to: db, port: 5432, reach: true, name: the web tier reads the database}
  - {from: api, to: db, ports: [5432, 5433], reach: false}
`,
    );
    assert.equal(code, 1);
    assert.equal(
      out,
      `ok  web reaches api at api
FAILED  the web tier reads the database
  shop/web -> shop/db TCP 5432 over IPv4 is denied: egress denied: the source is isolated by shop/a-default-deny, shop/b-dns, shop/c-web, and no rule there allows this; ingress denied: the destination is isolated by shop/a-default-deny, shop/e-db, and no rule there allows this
FAILED  api does not reach db at 5432, 5433
  shop/api -> shop/db TCP 5432 over IPv4 is allowed: egress allowed by shop/d-api spec.egress[0]; ingress allowed by shop/e-db spec.ingress[0]
1 of 3 expectations hold by policies
`,
    );
  });

  it('as data, and as test cases', async () => {
    const expect =
      'expect:\n  - {from: shop/web, to: shop/db, port: 5432, reach: false}\n  - {from: shop/web, to: shop/nope, port: 1, reach: false}\n';
    const yaml = parse((await verify(expect, '-o', 'yaml')).out) as {
      ok: boolean;
      by: string;
      expectations: { result: string; wrong: string[] }[];
    };
    assert.deepEqual(
      [yaml.ok, yaml.by, ...yaml.expectations.map(({ result }) => result)],
      [false, 'policies', 'ok', 'failed'],
    );
    assert.match(yaml.expectations[1]!.wrong[0]!, /^to "shop\/nope": there is no pod shop\/nope/);
    const junit = await verify(expect, '-o', 'junit');
    assert.match(junit.out, /<testsuites name="portcullis verify" tests="2" failures="1"/);
    assert.match(
      junit.out,
      /<testcase classname="[^"]*expectations.yaml" name="shop\/web does not reach shop\/db at 5432"\/>/,
    );
    assert.equal(junit.code, 1);
  });

  it('fault: a file that cannot be understood names the field', async () => {
    for (const [text, said] of [
      ['expect: []\n', /expectations\.yaml: expect: a list of at least one/],
      ['expect: [x]\n', /expect\[0\]: a map with from, to, port and reach/],
      ['expect: [{from: a, to: b, port: 1}]\n', /expect\[0\]\.reach: true or false/],
      ['expect: [{from: a, port: 1, reach: true}]\n', /expect\[0\]\.to: required/],
      ['expect: [{from: a, to: b, port: 0, reach: true}]\n', /expect\[0\]\.port: 0 is no port/],
      ['expect: [{from: a, to: b, prot: 1, reach: true}]\n', /expect\[0\]\.prot: no such field; there are name, from/],
      ['expect: [{from: a, to: b, ports: 1, reach: true}]\n', /expect\[0\]\.ports: a list of ports/],
    ] as const) {
      const { code, err } = await verify(text);
      assert.match(err, said);
      assert.equal(code, 2);
    }
    const none = await runCommand(['verify', '-f', THREE_TIER]);
    assert.match(none.err, /no object of kind ReachExpectations/);
    const both = await verify('expect: [{from: a, to: b, port: 1, reach: true}]\n', '--probe');
    assert.match(both.err, /--probe: sends packets in a cluster: give expectations, and no manifests/);
    const alone = await runCommand(['verify', '--probe']);
    assert.match(alone.err, /--probe: goes with -f/);
  });
});

describe('portcullis verify: what cannot be told', () => {
  let folder: string;
  let api: Awaited<ReturnType<typeof startApiServer>>;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-verify-'));
    const admin = { token: 'admin', user: 'admin' };
    const reader = {
      token: 'reader',
      user: 'reader',
      deny: ['create', 'delete'].map((verb) => ({ resource: 'namespaces', verb })),
    };
    api = await startApiServer({ tls: false, tokens: [admin, reader] });
    for (const { token } of [admin, reader]) writeFileSync(join(folder, token), api.kubeconfigFor(token));
  });

  afterEach(async () => {
    await api.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const verify = (who: string): Promise<CommandRun> =>
    runCommand(['verify', `--kubeconfig=${join(folder, who)}`, '--start=1', '--settle=1']);

  function node(name: string, ready: string): void {
    api.store.create('nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name } });
    api.store.setStatus('nodes', { name }, { conditions: [{ type: 'Ready', status: ready }] });
  }

  it('fault: no node that is ready', async () => {
    node('node-1', 'False');
    const { code, err } = await verify('admin');
    assert.match(err, /no node is ready that pods with policies could run on/);
    assert.equal(code, 4);
  });

  it('fault: no right to make a namespace', async () => {
    node('node-1', 'True');
    const { code, err } = await verify('reader');
    assert.match(err, /POST \/api\/v1\/namespaces: HTTP 403: .*cannot create resource "namespaces"/);
    assert.equal(code, 4);
  });

  it('fault: pods that do not start; the namespace goes all the same', async () => {
    node('node-1', 'True');
    const stop = startInstantKubelet(api.store, () => []);
    const { code, err } = await verify('admin');
    stop();
    assert.match(err, /pod server-0 on node-1 does not run after 1 s: it is Running and has no address/);
    assert.equal(code, 4);
    assert.deepEqual(
      api.store.list('namespaces').filter(({ metadata }) => metadata.name.startsWith('portcullis-verify')),
      [],
    );
  });
});
