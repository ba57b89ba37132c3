import assert from 'node:assert/strict';
import { runSync } from '../../src/core/sliced.ts';
import type { ClusterSnapshot, Policy, Problem } from '../../src/policy/model.ts';
import {
  AGAIN_MS,
  EventBook,
  type EventSubject,
  MAX_SUBJECTS,
  REPEAT_MS,
  WRITERS,
  WRITES_PER_MINUTE,
  electorate,
  rankOf,
  subjectsOf as slicedSubjectsOf,
} from '../../src/telemetry/object-events.ts';
import { namespace, parsedPolicy, pod, policyObject, snapshot } from '../support/builders.ts';

const subjectsOf = (...given: Parameters<typeof slicedSubjectsOf>) => runSync(slicedSubjectsOf(...given));
const SPEC = { podSelector: { matchLabels: { pod: 'a' } } };
const MODE = 'metadata.annotations[portcullis.dev/mode]';
const policy = (key: string, metadata: object = {}): Policy =>
  parsedPolicy(policyObject(key, SPEC, { uid: `uid-of-${key}`, ...metadata }));
const problem = (object: Problem['object'], field = 'spec.egress[0]', message = 'is odd'): Problem => ({
  object,
  field,
  message,
});
const ofPolicy = (name: string): Problem['object'] => ({ kind: 'NetworkPolicy', namespace: 'x', name });
const CLUSTER = snapshot({
  pods: [pod('x/a'), pod('x/b', { nodeName: 'node-2' }), pod('y/c', { nodeName: 'node-3' })],
  policies: [policy('x/p'), policy('x/q')],
  nodes: [{ name: 'node-1', addresses: [] }],
});
const lines = (subjects: readonly EventSubject[]): string[] =>
  subjects.map(({ namespace: home, object, type, reason, message }) =>
    [home, object.apiVersion, `${object.kind}/${object.name}`, object.uid, type, reason, message].join(' | '),
  );

describe('Events on objects', () => {
  const cases: readonly (readonly [string, readonly Problem[], ClusterSnapshot, readonly string[]])[] = [
    [
      'a problem of a policy',
      [problem(ofPolicy('p'))],
      CLUSTER,
      ['x | networking.k8s.io/v1 | NetworkPolicy/p | uid-of-x/p | Warning | PolicyProblem | spec.egress[0]: is odd'],
    ],
    [
      'a misspelt mode has a reason of its own, whoever has it',
      [problem(ofPolicy('p'), MODE), problem({ kind: 'Node', name: 'node-1' }, 'metadata.labels[portcullis.dev/mode]')],
      CLUSTER,
      [
        `x | networking.k8s.io/v1 | NetworkPolicy/p | uid-of-x/p | Warning | InvalidMode | ${MODE}: is odd`,
        'default | v1 | Node/node-1 | node-1 | Warning | InvalidMode | metadata.labels[portcullis.dev/mode]: is odd',
      ],
    ],
    [
      'one on a namespace is in it; a pod is named too',
      [problem({ kind: 'Namespace', name: 'y' }, ''), problem({ kind: 'Pod', namespace: 'x', name: 'a' }, '')],
      CLUSTER,
      [
        'y | v1 | Namespace/y | uid-of-y | Warning | NamespaceProblem | is odd',
        'x | v1 | Pod/a | uid-of-x/a | Warning | PodProblem | is odd',
      ],
    ],
    [
      'a problem of several policies is told on each',
      [problem(ofPolicy('p, q'), '')],
      CLUSTER,
      ['p', 'q'].map(
        (name) =>
          `x | networking.k8s.io/v1 | NetworkPolicy/${name} | uid-of-x/${name} | Warning | PolicyProblem | is odd`,
      ),
    ],
    [
      'what is not there, or goes with its namespace, gets none',
      [problem(ofPolicy('gone')), problem({ kind: 'Node', name: 'gone' }), problem({ kind: 'File', name: 'f' })],
      CLUSTER,
      [],
    ],
    [
      'nothing in a namespace that is being deleted',
      [problem(ofPolicy('p')), problem({ kind: 'Namespace', name: 'x' })],
      { ...CLUSTER, namespaces: new Map([['x', { ...namespace('x'), terminating: true }]]) },
      [],
    ],
  ];
  for (const [title, problems, cluster, expected] of cases)
    it(title, () => assert.deepEqual(lines(subjectsOf(problems, cluster)), expected));

  it('what is audited is a Normal one: the policy, or the namespace and not each policy in it', () => {
    const audited = policy('x/p', { annotations: { 'portcullis.dev/mode': 'audit' } });
    const cluster = snapshot({
      namespaces: [namespace('x'), { ...namespace('y'), mode: 'audit' }],
      policies: [
        audited,
        policy('y/p'),
        policy('y/q', { annotations: { 'portcullis.dev/mode': 'enforce' } }),
        policy('x/q'),
      ],
    });
    const found = subjectsOf([], cluster);
    assert.deepEqual(
      found.map(({ object, type, reason }) => [object.kind, object.name, type, reason]),
      [
        ['Namespace', 'y', 'Normal', 'Audited'],
        ['NetworkPolicy', 'p', 'Normal', 'Audited'],
      ],
    );
    assert.deepEqual(
      found.map(({ message }) => message.split(';')[0]),
      [
        'audited: on nodes in mode enforce, policies here that ask for no mode isolate nobody',
        'audited: on nodes in mode enforce, this policy isolates nobody',
      ],
    );
  });

  it('names: the same on each node and for each message, another for another object of the name, field or reason', () => {
    const name = (field: string, message: string, cluster = CLUSTER): string =>
      subjectsOf([problem(ofPolicy('p'), field, message)], cluster)[0]!.name;
    const again = snapshot({ namespaces: [namespace('x')], policies: [policy('x/p', { uid: 'another' })] });
    assert.match(name('a', 'm'), /^portcullis\.[0-9a-f]{24}$/);
    assert.equal(name('a', 'm'), name('a', 'n'));
    const others = [name('a', 'm'), name('b', 'm'), name('a', 'm', again), name(MODE, 'm')];
    assert.equal(new Set(others).size, others.length);
  });

  it('fault: a long message is cut to what the API takes, and of many problems 1,000 are told', () => {
    const [long] = subjectsOf([problem(ofPolicy('p'), '', 'x'.repeat(5_000))], CLUSTER);
    assert.equal(long!.message.length, 1024);
    const many = Array.from({ length: 3_000 }, (_, index) => problem(ofPolicy('p'), `spec.ingress[${index}]`));
    assert.equal(subjectsOf(many, CLUSTER).length, MAX_SUBJECTS);
  });
});

describe('which node writes an Event', () => {
  const nodesOf = (object: Problem['object'], cluster: ClusterSnapshot): readonly string[] => {
    const [subject] = subjectsOf([problem(object)], cluster);
    return [...(runSync(electorate([subject!], cluster)).get(subject!) ?? [])].sort();
  };
  const cases: readonly (readonly [string, Problem['object'], readonly string[]])[] = [
    ['a policy: those with pods that it selects', ofPolicy('p'), ['node-1']],
    ['a namespace: those with pods in it', { kind: 'Namespace', name: 'x' }, ['node-1', 'node-2']],
    ['a pod: its own', { kind: 'Pod', namespace: 'x', name: 'b' }, ['node-2']],
    ['a node: itself', { kind: 'Node', name: 'node-1' }, ['node-1']],
    ['nobody is concerned: all with pods', { kind: 'Namespace', name: 'empty' }, ['node-1', 'node-2', 'node-3']],
  ];
  const cluster = { ...CLUSTER, namespaces: new Map([...CLUSTER.namespaces, ['empty', namespace('empty')]]) };
  for (const [title, object, expected] of cases) it(title, () => assert.deepEqual(nodesOf(object, cluster), expected));

  const nodes = Array.from({ length: 100 }, (_, index) => `ip-10-0-0-${index}.ec2.internal`);
  const ranked = (name: string, among: readonly string[]): readonly string[] => {
    const set = new Set(among);
    const ranks = among.map((node) => [rankOf(node, name, set), node] as const);
    return [0, 1, 2].flatMap((rank) => ranks.filter(([each]) => each === rank).map(([, node]) => node));
  };

  it('one first and two to stand in, others never; one that goes moves its own Events only', () => {
    const firsts = new Map<string, number>();
    for (let index = 0; index < 1_000; index++) {
      const order = ranked(`portcullis.${index}`, nodes);
      assert.equal(order.length, WRITERS);
      assert.equal(new Set(order).size, WRITERS);
      firsts.set(order[0]!, (firsts.get(order[0]!) ?? 0) + 1);
      const left = nodes.filter((node) => node !== order[0]);
      assert.deepEqual(ranked(`portcullis.${index}`, left).slice(0, 2), order.slice(1));
    }
    // Of 1,000 over 100 nodes, each has 10 on average.
    assert.ok(firsts.size > 95 && Math.max(...firsts.values()) < 30, `${firsts.size} nodes`);
  });

  it('no candidate does not write, but in a cluster without pods everybody may', () => {
    for (const name of ['a', 'b', 'c', 'd']) assert.equal(rankOf('elsewhere', name, new Set(['node-1'])), WRITERS);
    assert.equal(rankOf('elsewhere', 'n', new Set()), 0);
  });
});

describe('when an Event is written again', () => {
  const subjects = (count: number, message = 'is odd'): readonly EventSubject[] =>
    subjectsOf(
      Array.from({ length: count }, (_, index) => problem(ofPolicy('p'), `spec.ingress[${index}]`, message)),
      CLUSTER,
    );
  const START = 1_000_000;
  const told = (): EventBook => {
    const book = new EventBook();
    book.update(subjects(1), START);
    book.tried(book.due(START)[0]!, START, 1, REPEAT_MS);
    return book;
  };

  it('while it lasts, three times in the hour that the API server keeps it', () => {
    const book = told();
    const times: number[] = [];
    for (let ms = START; ms <= START + 60 * 60_000; ms += 5_000) {
      book.update(subjects(1), ms);
      for (const entry of book.due(ms)) {
        times.push((ms - START) / 60_000);
        book.tried(entry, ms, (entry.count ?? 0) + 1, REPEAT_MS);
      }
    }
    assert.deepEqual(times, [20, 40, 60]);
  });

  const sooner: readonly (readonly [string, (book: EventBook) => void, number | undefined])[] = [
    ['the same again: not sooner', (book) => book.update(subjects(1), START + 10), REPEAT_MS],
    ['another message', (book) => book.update(subjects(1, 'is odder'), START + 10), AGAIN_MS],
    [
      'solved, and back',
      (book) => {
        book.update([], START + 10);
        book.update(subjects(1), START + 20);
      },
      AGAIN_MS,
    ],
    ['solved', (book) => book.update([], START + 10), undefined],
  ];
  for (const [title, change, expected] of sooner)
    it(title, () => {
      const book = told();
      change(book);
      const found = [10, AGAIN_MS - 1, AGAIN_MS, REPEAT_MS - 1, REPEAT_MS].find(
        (ms) => book.due(START + ms).length > 0,
      );
      assert.equal(found, expected);
      if (expected !== undefined) assert.equal(book.due(START + expected)[0]!.count, 1, 'the count is known');
    });

  it('fault: who changes an object all the time gets one write in five minutes', () => {
    const book = new EventBook();
    let writes = 0;
    for (let ms = START; ms < START + 60 * 60_000; ms += 1_000) {
      book.update(ms % 2_000 === 0 ? subjects(1, `is ${ms}`) : [], ms);
      for (const entry of book.due(ms)) {
        writes++;
        book.tried(entry, ms, 1, REPEAT_MS);
      }
    }
    assert.equal(writes, 12);
  });

  it('fault: many problems at once are so many writes a minute', () => {
    const book = new EventBook();
    book.update(subjects(500), START);
    let writes = 0;
    for (let ms = START; ms < START + 60_000; ms += 1_000) while (book.mayWrite(ms)) writes++;
    assert.ok(writes >= WRITES_PER_MINUTE && writes < 2 * WRITES_PER_MINUTE + 1, `${writes} writes`);
  });

  it('what was never told comes before what is told again', () => {
    const book = told();
    const later = START + REPEAT_MS;
    book.update(subjects(2), later);
    assert.deepEqual(
      book.due(later).map(({ count }) => count),
      [undefined, 1],
    );
  });

  it('fault: the book has 1,000 pages; those of solved problems go first, and the last of them after an hour', () => {
    const book = new EventBook();
    const [first, second] = ['a', 'b'].map((prefix) =>
      subjectsOf(
        Array.from({ length: MAX_SUBJECTS }, (_, index) => problem(ofPolicy('p'), `${prefix}${index}`)),
        CLUSTER,
      ),
    );
    book.update(first!, START);
    for (const entry of book.due(START)) book.tried(entry, START, 1, REPEAT_MS);
    book.update(second!, START + 1);
    assert.equal(book.size, MAX_SUBJECTS);
    assert.equal(book.due(START + 1).length, MAX_SUBJECTS, 'the new ones took the room');
    for (const entry of book.due(START + 1)) book.tried(entry, START + 1, 1, REPEAT_MS);
    book.update([], START + 2);
    assert.equal(book.size, MAX_SUBJECTS, 'counts are still known');
    book.update([], START + 60 * 60_000 + 1);
    assert.equal(book.size, 0);
  });
});
