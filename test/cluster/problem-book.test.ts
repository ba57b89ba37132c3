import assert from 'node:assert/strict';
import { MAX_IN_ALL, MAX_OF_NAMESPACE, ProblemBook } from '../../src/cluster/problem-book.ts';
import type { Problem } from '../../src/policy/model.ts';

const problem = (key: string): Problem => {
  const [namespace, name] = key.split('/') as [string, string];
  return { object: { kind: 'Pod', namespace, name }, field: 'spec', message: 'is odd' };
};

describe('problems with the objects of a kind', () => {
  it('come and go with their object, in one array until then', () => {
    const book = new ProblemBook();
    assert.equal(book.list, book.list);
    book.note('x/a', []);
    assert.deepEqual(book.list, []);
    book.note('x/a', [problem('x/a'), problem('x/a')]);
    book.note('x/b', [problem('x/b')]);
    assert.equal(book.list.length, 3);
    const list = book.list;
    book.note('x/c', []);
    assert.equal(book.list, list);
    book.note('x/a', []);
    assert.deepEqual(book.list, [problem('x/b')]);
  });

  it('fault: one namespace with many leaves room for others, and says that there are more', () => {
    const book = new ProblemBook();
    for (let n = 0; n < 5000; n++) book.note(`evil/p${n}`, [problem(`evil/p${n}`)]);
    book.note('x/a', [problem('x/a')]);
    assert.equal(book.list.length, MAX_OF_NAMESPACE + 2);
    assert.ok(book.list.some(({ object }) => object.namespace === 'x'));
    const more = book.list.filter(({ object }) => object.kind === 'Namespace');
    assert.deepEqual(
      more.map(({ object }) => object.name),
      ['evil'],
    );
    for (let n = 0; n < 5000; n++) book.note(`evil/p${n}`, []);
    assert.deepEqual(book.list, [problem('x/a')]);
  });

  it('many namespaces together are bounded as well', () => {
    const book = new ProblemBook();
    for (let n = 0; n < 5000; n++) book.note(`n${n}/p`, [problem(`n${n}/p`)]);
    assert.ok(book.list.length <= MAX_IN_ALL + MAX_OF_NAMESPACE);
    for (let n = 0; n < 5000; n++) book.note(`n${n}/p`, []);
    assert.deepEqual(book.list, []);
  });
});
