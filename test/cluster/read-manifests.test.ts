import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { parseManifests, readManifests, snapshotFromObjects } from '../../src/cluster/read-manifests.ts';

const pod = (name: string, namespace?: string): string =>
  `apiVersion: v1\nkind: Pod\nmetadata:\n  name: ${name}\n${namespace ? `  namespace: ${namespace}\n` : ''}`;

const snapshot = (text: string) =>
  snapshotFromObjects(parseManifests(text, 'file.yaml').objects, { defaultNamespace: 'default' });

describe('read-manifests', () => {
  let directory: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'manifests-'));
  });

  afterEach(() => rm(directory, { recursive: true }));

  it('reads files and directories, sorted, with several documents and lists', async () => {
    await mkdir(join(directory, 'b/deep'), { recursive: true });
    await writeFile(join(directory, 'b/deep/z.yml'), pod('z'));
    await writeFile(
      join(directory, 'b/a.json'),
      '{\n "kind": "List", "apiVersion": "v1", "items": [\n  {"kind": "Pod"},\n  {"kind": "Pod"}\n]}',
    );
    await writeFile(join(directory, 'a.yaml'), `# only a comment\n---\n${pod('a')}---\n\n---\n${pod('b')}`);
    await writeFile(join(directory, 'notes.txt'), 'not: a manifest');
    await writeFile(join(directory, 'no-extension'), pod('named'));
    const { objects, problems } = await readManifests([directory, join(directory, 'no-extension')], {
      recursive: true,
    });
    assert.deepEqual(problems, []);
    assert.deepEqual(
      objects.map(({ file, line }) => [file.slice(directory.length + 1), line]),
      [
        ['a.yaml', 3],
        ['a.yaml', 10],
        ['b/a.json', 3],
        ['b/a.json', 4],
        ['b/deep/z.yml', 1],
        ['no-extension', 1],
      ],
    );
  });

  it('reads a folder as kubectl does: only with `recursive` what lies deeper', async () => {
    await mkdir(join(directory, 'deep'));
    await writeFile(join(directory, 'deep/a.yaml'), pod('a'));
    const { objects, problems } = await readManifests([directory]);
    assert.deepEqual(objects, []);
    assert.match(problems[0]!.message, /holds no \.yaml, \.yml or \.json file; its 1 folders are read with -R/);
    await writeFile(join(directory, 'b.yaml'), pod('b'));
    const plain = await readManifests([directory]);
    assert.deepEqual([plain.objects.length, plain.problems], [1, []]);
    const all = await readManifests([directory], { recursive: true });
    assert.deepEqual([all.objects.length, all.problems], [2, []]);
  });

  it('reads standard input for `-`, once', async () => {
    const readStdin = (): Promise<Uint8Array> => Promise.resolve(Buffer.from(pod('a')));
    const { objects, problems } = await readManifests(['-'], { readStdin });
    assert.deepEqual([objects.map(({ file, line }) => [file, line]), problems], [[['stdin', 1]], []]);
    const twice = await readManifests(['-', '-'], { readStdin });
    assert.match(twice.problems[0]!.message, /can be read once only/);
  });

  it('says so when there is no object in what was given, as after a command that failed', async () => {
    const { problems } = await readManifests(['-'], { readStdin: () => Promise.resolve(new Uint8Array()) });
    assert.deepEqual(
      problems.map(({ object, message }) => [object.name, message]),
      [['stdin', 'holds no object']],
    );
    const empty = await readManifests(['-'], {
      readStdin: () => Promise.resolve(Buffer.from('apiVersion: v1\nkind: List\nitems: []\n')),
    });
    assert.equal(empty.problems.length, 1);
  });

  it('reads UTF-16 as PowerShell redirects it, and refuses what is no text', async () => {
    const text = `\uFEFF${pod('a', 'ünï')}`;
    const little = Buffer.from(text, 'utf16le');
    for (const [name, bytes] of [
      ['little.yaml', little],
      ['big.yaml', Buffer.from(little).swap16()],
      ['eight.yaml', Buffer.from(text)],
    ] as const) {
      await writeFile(join(directory, name), bytes);
      const { objects, problems } = await readManifests([join(directory, name)]);
      assert.deepEqual(problems, [], name);
      assert.equal((objects[0]!.object as { metadata: { namespace: string } }).metadata.namespace, 'ünï', name);
    }
    await writeFile(join(directory, 'bytes.yaml'), Buffer.from([0x61, 0x3a, 0x20, 0xff, 0x0a]));
    const { problems } = await readManifests([join(directory, 'bytes.yaml')]);
    assert.match(problems[0]!.message, /is no text/);
  });

  it('hands a folder with a kustomization to whoever can build it, and says what to do where nobody can', async () => {
    await writeFile(join(directory, 'kustomization.yaml'), 'resources: [a.yaml]\n');
    await writeFile(join(directory, 'a.yaml'), pod('a'));
    const asked: string[] = [];
    const built = await readManifests([directory], {
      kustomize: (folder) => Promise.resolve({ text: pod(`built-${asked.push(folder)}`) }),
    });
    assert.deepEqual(asked, [directory]);
    assert.deepEqual(
      built.objects.map(({ file, object }) => [file, (object as { metadata: { name: string } }).metadata.name]),
      [[`${directory} (built)`, 'built-1']],
    );
    const { problems } = await readManifests([directory]);
    assert.match(problems[0]!.message, /is a kustomization .*: kubectl kustomize .* \| portcullis lab -f -$/);
    const failed = await readManifests([directory], { kustomize: () => Promise.resolve({ error: 'no a.yaml' }) });
    assert.match(failed.problems[0]!.message, /cannot be built here: no a\.yaml; give what it builds/);
  });

  it('says where in its file an object is, and which line a field is on', () => {
    const list =
      'kind: List\napiVersion: v1\nitems:\n- kind: List\n  items:\n  - kind: Pod\n    metadata: {}\n- kind: Pod\n';
    const { objects } = parseManifests(`${pod('a')}---\n${list}`, 'f');
    assert.deepEqual(
      objects.map(({ part, line }) => [part, line]),
      [
        ['document 1', 1],
        ['document 2, item 1, item 1', 11],
        ['document 2, item 2', 13],
      ],
    );
    assert.equal(objects[1]!.lineAt!(['metadata']), 12);
    assert.deepEqual(
      parseManifests(pod('a'), 'f').objects.map(({ part }) => part),
      [undefined],
    );
  });

  it('warns of a key that is given twice', () => {
    const { objects, warnings } = parseManifests(`${pod('a')}kind: Pod\n`, 'f.yaml');
    assert.equal(objects.length, 1);
    assert.deepEqual(
      warnings.map(({ message }) => message),
      ['"kind" is given twice: the later one counts (f.yaml:5)'],
    );
  });

  it('reports what cannot be read and goes on', async () => {
    await writeFile(
      join(directory, 'bad.yaml'),
      `${pod('good')}---\nkind: Pod\nmetadata: {name: [}\n---\n${pod('after')}`,
    );
    const { objects, problems } = await readManifests([join(directory, 'none.yaml'), directory]);
    assert.deepEqual(
      objects.map(({ object }) => (object as { metadata: { name: string } }).metadata.name),
      ['good', 'after'],
    );
    assert.equal(problems.length, 2);
    assert.match(problems[0]!.message, /none\.yaml does not exist/);
    assert.match(problems[1]!.message, /is not valid YAML: .*bad\.yaml:7\)$/s);
  });

  it('a list of pods as the API server sends it needs no kind on its items', () => {
    const text = JSON.stringify({
      kind: 'PodList',
      apiVersion: 'v1',
      items: [{ metadata: { name: 'a', namespace: 'x' } }, null],
    });
    assert.deepEqual([...snapshot(text).pods.keys()], ['x/a']);
  });

  it('large JSON is read without the YAML parser, to the same objects', () => {
    const items = Array.from({ length: 3_000 }, (_, i) => ({
      kind: 'Pod',
      apiVersion: 'v1',
      metadata: { name: `p${i}`, labels: { filler: 'x'.repeat(400) } },
    }));
    const text = JSON.stringify({ kind: 'List', items });
    assert.ok(text.length > 1024 * 1024);
    const startedMs = performance.now();
    assert.equal(snapshot(text).pods.size, 3_000);
    assert.ok(performance.now() - startedMs < 1_000);
  });

  it('gives a snapshot: default namespace, implied namespaces, other kinds passed over', () => {
    const text = [
      pod('a'),
      pod('b', 'team'),
      'apiVersion: v1\nkind: Namespace\nmetadata: {name: team, labels: {team: blue}}\n',
      'apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\n',
      'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: z}\nspec: {podSelector: {}}\n',
      'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n',
    ].join('---\n');
    const { pods, namespaces, policies, nodes, problems } = snapshot(text);
    assert.deepEqual([...pods.keys()], ['default/a', 'team/b']);
    assert.deepEqual([...policies.keys()], ['z/p']);
    assert.deepEqual([...nodes.keys()], ['node-1']);
    assert.deepEqual(
      [...namespaces.values()].map(({ name, labels }) => [name, { ...labels }]),
      [
        ['team', { team: 'blue', 'kubernetes.io/metadata.name': 'team' }],
        ['default', { 'kubernetes.io/metadata.name': 'default' }],
        ['z', { 'kubernetes.io/metadata.name': 'z' }],
      ],
    );
    assert.deepEqual(problems, []);
  });

  it('names file and line in every problem', () => {
    const text = [
      'apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {podIP: nonsense}\n',
      pod('a'),
      'apiVersion: crd.example.org/v3\nkind: NetworkPolicy\nmetadata: {name: p}\n',
      'just a text\n',
      'apiVersion: v1\nkind: Pod\nmetadata: null\n',
    ].join('---\n');
    const { pods, problems } = snapshot(text);
    assert.deepEqual(
      problems.map(({ object, field, message }) => [object.kind, field, /\((.*)\)$/.exec(message)?.[1]]),
      [
        ['Pod', 'status.podIP', 'file.yaml:1'],
        ['Pod', 'metadata.name', 'file.yaml:6'],
        ['NetworkPolicy', 'apiVersion', 'file.yaml:11'],
        ['File', '', 'file.yaml:15'],
        ['Pod', 'metadata.namespace', 'file.yaml:17'],
        ['Pod', 'metadata.name', 'file.yaml:17'],
      ],
    );
    assert.deepEqual(pods.get('default/a')?.addresses, [], 'the later one counts');
  });

  it('anchors work, and cannot be used to fill the memory; __proto__ is only a key', () => {
    const shared =
      'apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: &l {__proto__: evil, app: a}, annotations: *l}\n';
    assert.deepEqual(Object.entries(snapshot(shared).pods.get('default/a')!.labels), [
      ['__proto__', 'evil'],
      ['app', 'a'],
    ]);
    const bomb = [
      'a: &a [x,x,x,x,x,x,x,x,x]',
      ...'bcdefghi'.split('').map((name, i) => `${name}: &${name} [${Array(9).fill(`*${'abcdefghi'[i]}`).join(',')}]`),
    ].join('\n');
    const { objects, problems } = parseManifests(bomb, 'bomb.yaml');
    assert.deepEqual(objects, []);
    assert.match(problems[0]!.message, /cannot be read: .*alias.*\(bomb\.yaml:1\)$/);
  });

  it('never throws', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...'{}[]:-&*!|>#\n \t"\'a1,?'.split('')) }), fc.json()),
        (text) => {
          snapshotFromObjects(parseManifests(text, 'f').objects, { defaultNamespace: 'default' });
        },
      ),
      { numRuns: 1_000 },
    );
  });
});
