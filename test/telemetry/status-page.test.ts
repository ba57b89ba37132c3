import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { AgentStatus } from '../../src/agent/agent.ts';
import type { PolicyProgress } from '../../src/agent/progress.ts';
import type { KindStatus } from '../../src/cluster/watch-cluster.ts';
import type { SyncFailure } from '../../src/dataplane/dataplane.ts';
import { POLICY_STATES } from '../../src/telemetry/policy-state.ts';
import { type PolicyFilter, type StatusFacts, statusPage } from '../../src/telemetry/status-page.ts';

interface Schema {
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean;
  readonly items?: Schema;
  readonly format?: string;
}

const SCHEMA = JSON.parse(readFileSync(new URL('../../docs/status.schema.json', import.meta.url), 'utf8')) as Schema;

/** As much of JSON Schema as the page's has. One line per value that it refuses. */
function refusals(schema: Schema, value: unknown, at = '$'): readonly string[] {
  const type =
    value === null ? 'null' : Array.isArray(value) ? 'array' : Number.isInteger(value) ? 'integer' : typeof value;
  const types = schema.type === undefined ? [type] : [schema.type].flat();
  if (!types.includes(type)) return [`${at}: ${type} is not ${types.join(' or ')}`];
  if ('const' in schema && schema.const !== value) return [`${at}: is not ${String(schema.const)}`];
  if (schema.enum && !schema.enum.includes(value)) return [`${at}: ${String(value)} is none of ${schema.enum.join()}`];
  if (schema.format === 'date-time' && typeof value === 'string' && new Date(value).toISOString() !== value)
    return [`${at}: ${value} is no moment`];
  if (Array.isArray(value)) return value.flatMap((item, index) => refusals(schema.items!, item, `${at}[${index}]`));
  if (typeof value !== 'object' || value === null) return [];
  const known = schema.properties ?? {};
  const missing = (schema.required ?? []).filter((name) => !Object.hasOwn(value, name));
  return [
    ...missing.map((name) => `${at}.${name}: missing`),
    ...Object.entries(value).flatMap(([name, each]) =>
      known[name] ? refusals(known[name], each, `${at}.${name}`) : [`${at}.${name}: not in the schema`],
    ),
  ];
}

const ALL: PolicyFilter = { which: 'all' };
const POLICY: PolicyProgress = { generation: 3, arrivedAtMs: 900, writtenAtMs: 1_700_000_000_000, committedAtMs: 950 };

function status(more: Partial<AgentStatus> = {}): AgentStatus {
  const ref = { namespace: 'x', name: 'p' };
  return {
    nodeName: 'node-1',
    mode: 'enforce',
    modeSource: 'default',
    inSync: true,
    lastOutcome: { failures: [] },
    lastIntent: { programs: [{ policies: [ref] }], audits: [], waiting: [] },
    inKernel: { revision: 7, sinceMs: 950 },
    policies: new Map([['x/p', POLICY]]),
    versions: { pods: '120' },
    lastQueuedMs: 900,
    lastSyncedMs: 950,
    problems: [],
    ...more,
  } as unknown as AgentStatus;
}

const KINDS = [
  { kind: 'pods', connected: true, staleMs: 0, version: '123' },
  { kind: 'networkpolicies', connected: false, staleMs: 1234.5, problem: 'refused' },
] as unknown as KindStatus[];

function facts(agent: AgentStatus | undefined): StatusFacts {
  const conditions = [
    { name: 'first-commit', ok: true, reason: 'x' },
    { name: 'last-sync', ok: false, reason: 'refused' },
  ];
  return {
    agentVersion: '1.2.3',
    nodeName: 'node-1',
    agent,
    dataplane: { inUse: 'nftables', backend: 'nftables', asked: 'auto', why: 'x' },
    kinds: KINDS,
    conditions,
    wallMs: 1_700_000_010_000,
    nowMs: 1000,
  };
}

describe('/status', () => {
  it('is as its schema says, before the first sync as well, and a schema that is not met is noticed', () => {
    for (const agent of [undefined, status(), status({ mode: 'audit' }), status({ lastOutcome: undefined })])
      for (const each of [facts(agent), { ...facts(agent), dataplane: undefined }])
        assert.deepEqual(refusals(SCHEMA, statusPage(each, ALL)), []);
    const page = statusPage(facts(status()), ALL);
    assert.notDeepEqual(refusals(SCHEMA, { ...page, version: 2 }), []);
    assert.notDeepEqual(refusals(SCHEMA, { ...page, more: 1 }), []);
    assert.notDeepEqual(refusals(SCHEMA, { ...page, policies: [{ ...page.policies[0], state: 'x' }] }), []);
    assert.deepEqual(SCHEMA.properties!.policies!.items!.properties!.state!.enum, POLICY_STATES);
  });

  it('tells moments by the wall clock', () => {
    const { revision, lastQueued, lastSynced, policies, kinds, ready, unready } = statusPage(facts(status()), ALL);
    assert.deepEqual(revision, { inKernel: 7, since: '2023-11-14T22:13:29.950Z' });
    assert.deepEqual([lastQueued, lastSynced], ['2023-11-14T22:13:29.900Z', '2023-11-14T22:13:29.950Z']);
    assert.deepEqual(policies, [
      {
        namespace: 'x',
        name: 'p',
        generation: 3,
        state: 'in-force',
        why: null,
        written: '2023-11-14T22:13:20.000Z',
        arrived: '2023-11-14T22:13:29.900Z',
        committed: '2023-11-14T22:13:29.950Z',
      },
    ]);
    assert.deepEqual(
      kinds.map(({ kind, inKernel, heard, staleMs }) => [kind, inKernel, heard, staleMs]),
      [
        ['pods', '120', '123', 0],
        ['networkpolicies', null, null, 1235],
      ],
    );
    assert.deepEqual([ready, unready], [false, [{ name: 'last-sync', reason: 'refused' }]]);
  });

  const failure = (policies: readonly string[]): SyncFailure => ({
    object: 'PCL-S',
    tool: 'ipset',
    reason: 'refused',
    message: 'hash is full',
    policies,
  });
  const failing = (...policies: string[]): Partial<AgentStatus> => ({
    lastOutcome: { failures: [failure(policies)] } as unknown as NonNullable<AgentStatus['lastOutcome']>,
  });
  const intent = (
    programs: readonly object[],
    waiting: readonly string[] = [],
    audits: readonly object[] = [],
  ): Partial<AgentStatus> => ({
    lastIntent: { programs, audits, waiting } as unknown as NonNullable<AgentStatus['lastIntent']>,
  });
  const { committedAtMs: _, ...open } = POLICY;
  const waiting = { policies: new Map([['x/p', open]]) };
  const object = { kind: 'NetworkPolicy', namespace: 'x', name: 'p' };
  const problems = [{ object, field: 'spec.ingress[0].from[1]', message: 'is no peer: ignored' }];
  const ref = { namespace: 'x', name: 'p' };

  for (const [title, more, state, why] of [
    ['in the kernel', {}, 'in-force', null],
    ['in the kernel of a node in mode audit', { mode: 'audit' }, 'audited', null],
    ['only audited itself', intent([], [], [{ policies: [ref] }]), 'audited', null],
    ['mode dry-run', { mode: 'dry-run' }, 'not-enforced', 'mode dry-run'],
    ['mode off', { mode: 'off' }, 'not-enforced', 'mode off'],
    ['no pod here is selected', intent([]), 'no-pods', null],
    ['a sync is due', waiting, 'waiting', 'a sync is due'],
    ['its namespace is compiled', { ...waiting, ...intent([], ['x']) }, 'waiting', 'its namespace is being compiled'],
    ['the last sync failed for another', { ...waiting, ...failing() }, 'waiting', 'the last sync failed: hash is full'],
    ['the cluster is not listed', { ...waiting, inSync: false }, 'waiting', 'the cluster is not listed yet'],
    ['the kernel refused its rules', failing('x/p'), 'held-back', 'hash is full'],
    ['the kernel refused those of another', failing('x/q'), 'in-force', null],
    [
      'a limit is passed',
      intent([{ policies: [ref], closed: 'rules' }, { policies: [ref] }]),
      'held-back',
      'its namespace asks for more rules than a node can give: its pods are closed',
    ],
    ['a part of it cannot be used', { problems }, 'partly', 'spec.ingress[0].from[1] is no peer: ignored'],
  ] as const) {
    it(`a policy is ${state}: ${title}`, () => {
      const [page] = statusPage(facts(status(more as Partial<AgentStatus>)), ALL).policies;
      assert.deepEqual([page!.state, page!.why], [state, why]);
    });
  }

  it('shows one policy, or those that are not as written', () => {
    const policies = new Map([
      ['y/q', open],
      ['x/p', POLICY],
    ]);
    const names = (filter: PolicyFilter): readonly string[] =>
      statusPage(facts(status({ policies })), filter).policies.map(({ namespace, name }) => `${namespace}/${name}`);
    assert.deepEqual(names(ALL), ['x/p', 'y/q']);
    assert.deepEqual(names({ which: 'unsettled' }), ['y/q']);
    assert.deepEqual(names({ which: 'unsettled', also: 'x/p' }), ['x/p', 'y/q']);
    assert.deepEqual(names({ which: 'none', also: 'x/p' }), ['x/p']);
    assert.deepEqual(names({ which: 'none', also: 'x/z' }), []);
  });
});
