import assert from 'node:assert/strict';
import vm from 'node:vm';
import { asScript, refuseCircles } from '../../scripts/part-script.ts';

type Parts = Readonly<Record<string, unknown>>;

/** As load-parts.ts runs it. Result: what it exports. */
async function run(text: string, parts: Parts = {}): Promise<Parts> {
  const part = { exports: {} };
  const code = await asScript(text, 'part.cjs');
  const body = vm.runInThisContext(`(require, module) => {${code}\n}`) as (...given: unknown[]) => void;
  body((name: string) => parts[name], part);
  return part.exports;
}

describe('asScript', () => {
  it('takes from other parts, and exports, by the names that each of them uses', async () => {
    const text =
      'import{a,b as $b}from"./x.cjs";import"./y.cjs";var sum=a+$b;function twice(n){return 2*n}export{sum,twice as double};';
    const { sum, double } = await run(text, { './x.cjs': { a: 1, b: 2 } });
    assert.equal(sum, 3);
    assert.equal((double as (n: number) => number)(4), 8);
  });

  it('exports values, not getters', async () => {
    const exported = await run('var one=1;export{one};');
    assert.deepEqual(Object.getOwnPropertyDescriptor(exported, 'one'), {
      value: 1,
      writable: true,
      enumerable: true,
      configurable: true,
    });
  });

  it('loads a part later where it is imported later', async () => {
    const { load } = await run('function load(){return import("./x.cjs")}export{load};', { './x.cjs': { a: 1 } });
    assert.equal(((await (load as () => Promise<Parts>)()) as Parts).a, 1);
  });

  it('refuses what is exported and changed afterwards', async () => {
    for (const change of ['n=1', 'n++', '--n', 'n+=1', 'n>>>=1', 'n??=1'])
      await assert.rejects(
        asScript(`var n=0;function f(){${change}}export{n,f};`, 'part.cjs'),
        /part\.cjs: n is exported, and assigned more than once/,
      );
  });

  it('passes over what only looks like a change', async () => {
    const { f } = await run('var n=3;function f(o){return n<=3&&n>=3&&n==3&&n===3&&o.n!==n&&(n=>n)(1)}export{n,f};');
    assert.equal((f as (o: object) => number)({}), 1);
  });

  it('refuses imports and exports in another form', async () => {
    for (const text of [
      'import x from"./x.cjs";',
      'import*as x from"./x.cjs";',
      'export var x=1;',
      'export{x}from"./x.cjs";var y;',
    ])
      await assert.rejects(asScript(text, 'part.cjs'), SyntaxError, text);
  });
});

describe('refuseCircles', () => {
  const needs = (...paths: string[]) => ({ imports: paths.map((path) => ({ path, kind: 'import-statement' })) });

  it('refuses parts that need each other', () => {
    assert.throws(() => refuseCircles({ a: needs('b'), b: needs('c'), c: needs('b') }), /circle: a -> b -> c -> b$/);
  });

  it('lets several need the same, and one load later what needs it', () => {
    refuseCircles({
      a: needs('b', 'c'),
      b: needs('c'),
      c: { imports: [{ path: 'a', kind: 'dynamic-import' }] },
    });
  });
});
