/** The imports of every source file against the table in docs/architecture.md. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const ROOT = join(import.meta.dirname, '..');

interface Room {
  readonly kind: 'pure' | 'edge';
  readonly imports: ReadonlySet<string>;
}

/** The only pure files that may read the time: everybody else is given a clock. */
const CLOCKS: ReadonlySet<string> = new Set(['src/core/clock.ts', 'src/core/run-sliced.ts']);
const READS_SURROUNDINGS =
  /\b(performance\.now|Date\.now|new Date\(\)|Math\.random|process\.|set(?:Timeout|Interval|Immediate)\()/;

const ROOMS = readRooms(readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8'));
const SOURCES: ReadonlyMap<string, string> = new Map(
  ['src', 'lab'].flatMap((folder) => sourcesIn(folder).map((file) => [file, readFileSync(join(ROOT, file), 'utf8')])),
);

describe('architecture', () => {
  it('gives every source file a row in its table', () => {
    assert.deepEqual(
      [...SOURCES.keys()].filter((file) => roomOf(file) === undefined),
      [],
    );
  });

  it('names in each row only folders that have one', () => {
    for (const [name, { imports }] of ROOMS)
      for (const imported of imports) assert.ok(ROOMS.has(imported), `row ${name}: ${imported} has no row`);
  });

  it('lets no two folders import each other', () => {
    const circles = circlesOf(new Map([...ROOMS].map(([name, { imports }]) => [name, [...imports]])));
    assert.deepEqual(circles, []);
  });

  it('is kept by every import', () => {
    assert.deepEqual(arrows(), []);
  });

  it('has no file that imports itself by way of others', () => {
    const circles = circlesOf(new Map([...SOURCES.keys()].map((file) => [file, importsOf(file)])));
    assert.deepEqual(circles, []);
  });

  it('keeps pure folders from node: modules other than node:crypto', () => {
    const found = pureFiles().flatMap((file) =>
      specifiersOf(file)
        .filter((name) => name.startsWith('node:') && name !== 'node:crypto')
        .map((name) => `${file}: ${name}`),
    );
    assert.deepEqual(found, []);
  });

  it('keeps pure folders from the clock, the environment and random numbers', () => {
    const found = pureFiles()
      .filter((file) => !CLOCKS.has(file))
      .flatMap((file) => {
        const name = READS_SURROUNDINGS.exec(withoutComments(SOURCES.get(file)!))?.[1];
        return name === undefined ? [] : [`${file}: ${name}`];
      });
    assert.deepEqual(found, []);
  });

  it('tells imports of every form, and none in a comment', () => {
    const text = `import 'node:a';\nimport type { X } from './b.ts';\nimport {\n  y,\n} from '../c.ts';
export * from './d.ts';\nconst e = await import('./e.ts');\n/** import './f.ts' */\n// import './g.ts'\nconst url = 'x://h';\nimport './i.ts';`;
    assert.deepEqual(readSpecifiers(text), ['node:a', './b.ts', '../c.ts', './d.ts', './e.ts', './i.ts']);
  });

  it('finds circles, each once', () => {
    const graph = new Map([
      ['a', ['b', 'd']],
      ['b', ['c']],
      ['c', ['a', 'b']],
      ['d', []],
    ]);
    assert.deepEqual(circlesOf(graph), ['a <-> b <-> c']);
  });
});

/** Inside the data plane of iptables a row names its neighbours by their last part. */
function readRooms(page: string): ReadonlyMap<string, Room> {
  const [, table] = /^folder +kind +imports\n([^`]+)```/m.exec(page) ?? [];
  const rows = (table ?? '')
    .split('\n')
    .filter((row) => row !== '')
    .map((row) => row.split(/ +/));
  const names = rows.map(([name]) => name!);
  // Of the same data plane, else of the one with iptables.
  const whole = (name: string, row: string): string =>
    [name, join(row, name), join(dirname(row), name), `dataplane/iptables/${name}`].find((each) =>
      names.includes(each),
    ) ?? name;
  return new Map(
    rows.map(([name, kind, ...imports]) => {
      assert.ok(kind === 'pure' || kind === 'edge', `row ${name}: it is neither pure nor an edge`);
      return [name!, { kind, imports: new Set(imports.map((each) => whole(each, name!))) }];
    }),
  );
}

function sourcesIn(folder: string): readonly string[] {
  const files = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' });
  return files
    .filter((file) => file.endsWith('.ts'))
    .map((file) => join(folder, file))
    .sort();
}

/** The row with the longest name that the file lies under. */
function roomOf(file: string): string | undefined {
  const path = file.replace(/^src\//, '');
  const names = [...ROOMS.keys()].filter((name) => path === name || path.startsWith(`${name}/`));
  return names.sort((a, b) => b.length - a.length)[0];
}

function pureFiles(): readonly string[] {
  return [...SOURCES.keys()].filter((file) => ROOMS.get(roomOf(file)!)?.kind === 'pure');
}

/** Imports that the table forbids. */
function arrows(): readonly string[] {
  const all = [...SOURCES.keys()].flatMap((file) => {
    const from = roomOf(file)!;
    return importsOf(file)
      .filter((imported) => {
        const to = roomOf(imported);
        return to !== from && (to === undefined || !ROOMS.get(from)?.imports.has(to));
      })
      .map((imported) => `${file} -> ${imported}`);
  });
  return [...new Set(all)];
}

function importsOf(file: string): readonly string[] {
  const relatives = specifiersOf(file).filter((name) => name.startsWith('.') && name.endsWith('.ts'));
  return relatives.map((name) => relative(ROOT, join(ROOT, dirname(file), name)));
}

function specifiersOf(file: string): readonly string[] {
  return readSpecifiers(SOURCES.get(file)!);
}

function readSpecifiers(text: string): readonly string[] {
  const found = withoutComments(text).matchAll(/\bfrom '([^']+)'|\bimport\(?\s*'([^']+)'/g);
  return [...found].map(([, from, bare]) => (from ?? bare)!);
}

function withoutComments(text: string): string {
  return text.replace(/^\s*\/\*\*?[\s\S]*?\*\/|(?<!:)\/\/.*$/gm, '');
}

/** Groups in which everybody reaches everybody, each as its sorted members (Tarjan's components of more than one). */
function circlesOf(graph: ReadonlyMap<string, readonly string[]>): readonly string[] {
  const order = new Map<string, number>();
  const low = new Map<string, number>();
  const open: string[] = [];
  const circles: string[] = [];
  const visit = (name: string): void => {
    order.set(name, order.size);
    low.set(name, order.get(name)!);
    open.push(name);
    for (const next of graph.get(name) ?? []) {
      if (!order.has(next)) visit(next);
      if (open.includes(next)) low.set(name, Math.min(low.get(name)!, low.get(next)!));
    }
    if (low.get(name) !== order.get(name)) return;
    const members = open.splice(open.indexOf(name));
    if (members.length > 1) circles.push(members.sort().join(' <-> '));
  };
  for (const name of graph.keys()) if (!order.has(name)) visit(name);
  return circles.sort();
}
