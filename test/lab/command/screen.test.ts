import assert from 'node:assert/strict';
import { stripVTControlCharacters } from 'node:util';
import { Screen, type ScreenOptions, type Terminal } from '../../../lab/command/screen.ts';

type Captured = Terminal & { text: string };

function stream(fields: Partial<Terminal> = {}): Captured {
  const found = {
    text: '',
    write(text: string): boolean {
      found.text += text;
      return true;
    },
    ...fields,
  };
  return found as Captured;
}

function screen(fields: Partial<ScreenOptions> = {}) {
  const { stdout = stream(), stderr = stream() } = fields as Partial<Record<'stdout' | 'stderr', Captured>>;
  return { stdout, stderr, screen: new Screen({ output: 'text', env: {}, ...fields, stdout, stderr }) };
}

describe('Screen', () => {
  it('colours terminals, unless told otherwise', () => {
    const tty = stream({ isTTY: true });
    const colours = (stdout: Terminal, env: ScreenOptions['env']): boolean =>
      screen({ stdout, env }).screen.paint('red', 'x') !== 'x';
    assert.equal(colours(tty, {}), true);
    assert.equal(colours(stream(), {}), false);
    assert.equal(colours(tty, { NO_COLOR: '1' }), false);
    assert.equal(colours(tty, { NO_COLOR: '' }), true);
    assert.equal(colours(tty, { TERM: 'dumb' }), false);
    assert.equal(colours(stream(), { FORCE_COLOR: '1' }), true);
    assert.equal(colours(tty, { FORCE_COLOR: '0' }), false);
    assert.equal(colours(stream(), { FORCE_COLOR: '1', NO_COLOR: '1' }), true);
  });

  it('keeps stdout of a JSON run for the result', () => {
    const { stdout, stderr, screen: json } = screen({ output: 'json' });
    json.say('story');
    json.note('KUBECONFIG');
    json.complain('wrong');
    json.result('{}');
    assert.equal(stdout.text, '{}\n');
    assert.equal(stderr.text, 'KUBECONFIG\n! wrong\n');
  });

  it('writes the story and notes of a text run to stdout, complaints to stderr, each once', () => {
    const { stdout, stderr, screen: text } = screen();
    text.say('story');
    text.note('note');
    text.complain('wrong');
    text.complain('wrong');
    assert.deepEqual([stdout.text, stderr.text], ['story\nnote\n', '! wrong\n']);
  });

  it('knows how wide lines may be', () => {
    assert.equal(screen({ stdout: stream({ isTTY: true, columns: 97 }) }).screen.width, 97);
    assert.equal(screen({ stdout: stream({ isTTY: true, columns: 0 }) }).screen.width, 80);
    assert.equal(screen({ stdout: stream({ isTTY: true, columns: 10 }) }).screen.width, 40);
    assert.equal(screen().screen.width, 120);
    assert.equal(screen({ env: { COLUMNS: '200' } }).screen.width, 200);
  });

  it('replaces the waiting line of a terminal, and takes it away before anything else', () => {
    const { stderr, screen: tty } = screen({ stderr: stream({ isTTY: true, columns: 20 }) });
    tty.waiting('for pods that are slow');
    tty.waiting('for agents');
    tty.say('done');
    const lines = stderr.text.split('\r\u001B[2K').map(stripVTControlCharacters);
    assert.deepEqual(lines, ['', '... for pods that a', '... for agents', '']);
  });

  it('says nothing about short waits in a pipe', () => {
    const { stderr, screen: pipe } = screen();
    pipe.waiting('for pods');
    pipe.say('done');
    assert.equal(stderr.text, '');
  });
});
