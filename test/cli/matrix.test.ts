/** `portcullis matrix` as a person runs it: on the examples, and what its data says against explain. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { type CommandRun, runCommand } from '../support/command-line.ts';

const EXAMPLES = fileURLToPath(new URL('../../examples', import.meta.url));
const THREE_TIER = join(EXAMPLES, 'three-tier');

const matrix = (...argv: readonly string[]): Promise<CommandRun> => runCommand(['matrix', ...argv]);

interface MatrixData {
  readonly apiVersion: string;
  readonly kind: string;
  readonly groups: readonly { readonly id: number; readonly type: string; readonly members: readonly string[] }[];
  readonly ports: readonly { readonly id: number; readonly name: string }[];
  readonly verdicts: readonly Readonly<Record<string, unknown>>[];
  readonly cells: readonly {
    readonly source: number;
    readonly destination: number;
    readonly pairs: number;
    readonly ports: readonly {
      readonly ids: readonly number[];
      readonly allowed: string;
      readonly because: readonly { readonly egress: number; readonly ingress: number; readonly pairs: number }[];
    }[];
  }[];
}

describe('portcullis matrix', () => {
  it('shows a grid of ports', async () => {
    const { code, out, err } = await matrix('-f', THREE_TIER);
    assert.equal(err, '');
    assert.equal(
      out,
      `4 pods in 4 groups; isolated for egress: 3, for ingress: 3

                     1          2     3     4   5
  1 kube-system/dns             -     -     80  all
  2 shop/api         53 53/UDP        5432  -   -
  3 shop/db          53 53/UDP  -           -   -
  4 shop/web         53 53/UDP  8080  -         -
  5 outside          all        -     -     80

Rows send, columns receive. all: any port; -: nothing; ~: some of the pods; a blank: no policy is asked.
`,
    );
    assert.equal(code, 0);
  });

  it('narrows rows, columns and ports', async () => {
    const { out } = await matrix(
      '-f',
      THREE_TIER,
      '--from',
      'outside',
      '--from',
      'shop/api',
      '--to',
      'shop',
      '-p',
      '80',
    );
    assert.match(
      out,
      /\n {14}2 {2}3 {2}4\n {2}2 shop\/api {5}- {2}-\n {2}5 outside {3}- {2}- {2}80\n\n {2}3 shop\/db\n {2}4 shop\/web\n/,
    );
  });

  it('tells apart pods of one group, blocks of the world outside, and everything but a port', async () => {
    const egress = await matrix('-f', join(EXAMPLES, 'egress'));
    assert.match(egress.out, /2 lockdown\/client {10}8080~ 8443~ {7}-/);
    const { out } = await matrix('-f', join(EXAMPLES, 'ip-block'), '--to', 'outside');
    assert.match(out, /outside 203\.0\.113\.0\/25\n.*outside 203\.0\.113\.128\/25\n/);
    const folder = mkdtempSync(join(tmpdir(), 'matrix-'));
    const file = join(folder, 'all-but-22.yaml');
    const entries = [
      ...['a', 'b'].map((name) => ({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, labels: { app: name } },
        spec: {},
      })),
      {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name: 'p' },
        spec: {
          podSelector: { matchLabels: { app: 'b' } },
          ingress: [
            {
              ports: [
                { port: 1, endPort: 21 },
                { port: 23, endPort: 65535 },
                { protocol: 'UDP' },
                { protocol: 'SCTP' },
              ],
            },
          ],
        },
      },
    ];
    writeFileSync(file, entries.map((entry) => JSON.stringify(entry)).join('\n---\n'));
    const open = await matrix('-f', file, '--from', 'default/a', '--to', 'default/b');
    rmSync(folder, { recursive: true });
    // Port 0 is none that a range can name.
    assert.match(open.out, /1 default\/a {2}1-21 23-65535 other UDP other SCTP\n/);
  });

  it('gives programs every cell, with verdicts that explain gives as well', async () => {
    const { out } = await matrix('-f', THREE_TIER, '-o', 'json');
    const data = JSON.parse(out) as MatrixData;
    assert.deepEqual([data.apiVersion, data.kind], ['portcullis.dev/v1alpha1', 'FlowMatrix']);
    assert.deepEqual(parse((await matrix('-f', THREE_TIER, '-o', 'yaml')).out), data);
    const pods = data.groups.filter(({ type }) => type === 'pod');
    assert.equal(data.cells.length, pods.length * (pods.length - 1) + 2 * pods.length);
    let compared = 0;
    for (const cell of data.cells) {
      const [from, to] = [data.groups[cell.source]!, data.groups[cell.destination]!];
      if (from.type !== 'pod' || to.type !== 'pod') continue;
      for (const { ids, allowed, because } of cell.ports) {
        const { name } = data.ports[ids[0]!]!;
        if (!/^\d/.test(name)) continue;
        const argv = ['-f', THREE_TIER, from.members[0]!, to.members[0]!, '-p', name, '-o', 'json'];
        const told = JSON.parse((await runCommand(['explain', ...argv])).out) as {
          readonly allowed: boolean;
          readonly flows: readonly { readonly directions: readonly Record<string, unknown>[] }[];
        };
        assert.equal(allowed, told.allowed ? 'all' : 'none');
        const [egress, ingress] = told.flows[0]!.directions;
        const ours = [data.verdicts[because[0]!.egress]!, data.verdicts[because[0]!.ingress]!];
        assert.deepEqual(
          ours.map(({ verdict, by, isolatedBy }) => [verdict, by, isolatedBy]),
          [egress!, ingress!].map(({ verdict, by, isolatedBy }) => [verdict, by, isolatedBy]),
        );
        compared++;
      }
    }
    assert.ok(compared >= 12, `${compared}`);
  });

  it('writes a table for documents, and lines for spreadsheets', async () => {
    const markdown = await matrix('-f', THREE_TIER, '-o', 'markdown', '--to', 'shop/web');
    assert.match(markdown.out, /^\| from \\ to \| shop\/web \|\n\| --- \| --- \|\n\| kube-system\/dns \| 80 \|\n/);
    const { out } = await matrix(
      '-f',
      THREE_TIER,
      '-o',
      'csv',
      '--from',
      'outside',
      '--to',
      'shop/web',
      '-p',
      '80',
      '-p',
      '53/UDP',
    );
    assert.equal(
      out,
      [
        'source_kind,source_namespace,source,source_ends,destination_kind,destination_namespace,destination,destination_ends,port,protocol,allowed,pairs,pairs_allowed,egress,ingress',
        'outside,,0.0.0.0/0,1,Deployment,shop,web,1,80,TCP,all,1,1,"open: the source is not a pod that policies apply to (outside, a node, host network, or finished)",allowed by shop/c-web spec.ingress[0]',
        'outside,,0.0.0.0/0,1,Deployment,shop,web,1,53,UDP,none,1,0,"open: the source is not a pod that policies apply to (outside, a node, host network, or finished)","denied: the destination is isolated by shop/a-default-deny, shop/c-web, and no rule there allows this"',
        '',
      ].join('\r\n'),
    );
  });

  it('judges audited policies as enforced where that is asked', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'matrix-'));
    const file = join(folder, 'audited.json');
    const annotations = { 'portcullis.dev/mode': 'audit' };
    const entries = [
      ...['a', 'b'].map((name) => ({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, labels: { app: name } },
        spec: {},
      })),
      {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name: 'deny', annotations },
        spec: { podSelector: {} },
      },
    ];
    writeFileSync(file, entries.map((entry) => JSON.stringify(entry)).join('\n---\n'));
    const argv = ['-f', file, '--from', 'default/a', '--to', 'default/b'];
    const [now, then] = [await matrix(...argv), await matrix(...argv, '--enforce-audited')];
    rmSync(folder, { recursive: true });
    assert.match(now.out, /1 default\/a {2}all\n/);
    assert.match(then.out, /1 default\/a {2}-\n/);
  });

  const wrong: readonly (readonly [why: string, argv: readonly string[], message: RegExp])[] = [
    [
      'a name that nothing has',
      ['-f', THREE_TIER, '--to', 'shpo'],
      /--to "shpo": nothing there has that name; there are kube-system, shop, outside/,
    ],
    ['a port that is none', ['-f', THREE_TIER, '-p', 'http'], /--port: "http" is not a port: 80 or 53\/UDP/],
    [
      'policies without pods',
      ['-f', join(THREE_TIER, '01-policies.yaml')],
      /there is no pod or workload in what was given/,
    ],
  ];
  for (const [why, argv, message] of wrong)
    it(`refuses ${why}, with exit code 2`, async () => {
      const { code, out, err } = await matrix(...argv);
      assert.match(err, message);
      assert.deepEqual([code, out], [2, '']);
    });
});
